"""Makes small pictures of the latest parts, in a thread that takes a quarter of a core at most.

maker = PictureMaker(keep=lambda job, pictures: ...)
maker.start()
maker.put(17, {"top": content})
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO

from PIL.Image import Image, Resampling

from model.errors import ImageError
from model.images.decoding import DecodeLimits, opened

logger = logging.getLogger("service.pictures")

_LIMITS = DecodeLimits(max_pixels=200_000_000, max_side=65_536, max_aspect=1_000)
_SMALL_SIDE, _LARGE_SIDE = 160, 1_024
_QUALITY = 80
_WAITING = 4
"""Parts that wait for their pictures; on a faster line the oldest one gets none."""
_REST = 3.0
"""The thread rests this many times as long as it worked."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A camera's image as two JPEG files."""

    small: bytes
    large: bytes
    width: int
    height: int
    """Of the small one."""


Keep = Callable[[int, Mapping[str, Picture]], None]


class PictureMaker:
    """Gives `keep` a part's pictures by camera; an image that cannot be read has none."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._waiting: deque[tuple[int, Mapping[str, bytes]]] = deque(maxlen=_WAITING)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def put(self, job: int, images: Mapping[str, bytes]) -> None:
        """Have pictures made of a part's images; returns at once."""
        if self._thread is not None:
            self._waiting.append((job, images))
            self._wake.set()

    def close(self) -> None:
        """End the thread, after the picture that it makes now."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._stop.is_set():
                job, images = self._waiting.popleft()
                began_s = time.monotonic()
                self._keep(job, pictures_of(images))
                self._stop.wait(_REST * (time.monotonic() - began_s))
            if self._stop.is_set():
                return


def pictures_of(images: Mapping[str, bytes]) -> dict[str, Picture]:
    """Return the pictures of those images that can be read."""
    pictures = {}
    for camera, content in images.items():
        try:
            pictures[camera] = _picture(content)
        except ImageError:
            continue  # the result says that the image is unreadable
        except Exception:
            logger.exception("no picture was made of an image of camera %s", camera)
    return pictures


def _picture(content: bytes) -> Picture:
    """Return an image's pictures. Raises `ImageError`."""
    with opened(content, _LIMITS) as image:
        image.image.draft(None, (_LARGE_SIDE, _LARGE_SIDE))  # decodes a JPEG at a smaller size
        image.load()
        pixels = image.upright().convert("RGB")
    large = _fitted(pixels, _LARGE_SIDE)
    small = _fitted(large, _SMALL_SIDE)
    return Picture(_jpeg(small), _jpeg(large), small.width, small.height)


def _fitted(image: Image, side: int) -> Image:
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Resampling.BILINEAR, reducing_gap=2.0)


def _jpeg(image: Image) -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()

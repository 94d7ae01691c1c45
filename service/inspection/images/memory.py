"""How much images may hold while they are decoded and framed, whoever sent them."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from PIL.Image import Image

from service.errors import QueueFull

_KEPT_BYTES_PER_PIXEL = {"L": 1}
_COLOUR_BYTES_PER_PIXEL = 4  # Pillow keeps RGB in as many


class Room:
    """Bytes for images, taken before the first pixel is decoded; one alone always has room.

    What an image takes beyond itself comes back when it is framed, and the rest when the image is
    let go: one that nobody waits for any more counts for as long as a thread is still at work on
    it. Thread-safe.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = RLock()  # an image may be let go while this thread holds it
        self.held = 0

    def has(self, nbytes: int) -> bool:
        """Whether there is room for so many bytes now."""
        with self._lock:
            return not self.held or self.held + nbytes <= self._max_bytes

    @contextmanager
    def taken(self, peak_bytes: int) -> Iterator[list[Image]]:
        """Decode and frame within; an image put into the list keeps what it holds itself.

        Raises `QueueFull`.
        """
        self._take(peak_bytes)
        kept: list[Image] = []
        held = 0
        try:
            yield kept
            for image in kept:
                nbytes = min(peak_bytes - held, _bytes_of(image))
                weakref.finalize(image, self._take, -nbytes).atexit = False
                held += nbytes
        finally:
            self._take(held - peak_bytes)

    def _take(self, nbytes: int) -> None:
        with self._lock:
            if nbytes > 0 and not self.has(nbytes):
                raise QueueFull(f"decoded images hold {self.held} bytes, and no more are decoded")
            self.held += nbytes


def _bytes_of(image: Image) -> int:
    per_pixel = _KEPT_BYTES_PER_PIXEL.get(image.mode, _COLOUR_BYTES_PER_PIXEL)
    return per_pixel * image.width * image.height

"""A budget of bytes for all images that are being decoded and framed."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from PIL.Image import Image

from service.errors import QueueFull

_GREY_BYTES_PER_PIXEL = {"L": 1}
_COLOUR_BYTES_PER_PIXEL = 4  # Pillow stores RGB in 4 bytes


class DecodeMemory:
    """Reserves bytes for images before the first pixel is decoded; a single image always fits.

        with memory.reserved(peak_bytes) as images:
            images.append(decode(content))

    After framing, only the size of the images in the list stays reserved, each until it is garbage
    collected. Thread-safe.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = RLock()  # an image may be collected while this thread has the lock
        self.reserved_bytes = 0

    def fits(self, nbytes: int) -> bool:
        """Whether so many more bytes can be reserved now."""
        with self._lock:
            return not self.reserved_bytes or self.reserved_bytes + nbytes <= self._max_bytes

    @contextmanager
    def reserved(self, peak_bytes: int) -> Iterator[list[Image]]:
        """Reserve bytes for the block; images put into the list stay counted afterwards.

        Raises `QueueFull`.
        """
        self._reserve(peak_bytes)
        images: list[Image] = []
        remaining_bytes = 0
        try:
            yield images
            for image in images:
                nbytes = min(peak_bytes - remaining_bytes, _bytes_of(image))
                weakref.finalize(image, self._reserve, -nbytes).atexit = False
                remaining_bytes += nbytes
        finally:
            self._reserve(remaining_bytes - peak_bytes)

    def _reserve(self, nbytes: int) -> None:
        with self._lock:
            if nbytes > 0 and not self.fits(nbytes):
                raise QueueFull(
                    f"images being decoded take {self.reserved_bytes} bytes of memory, and this "
                    f"one would add {nbytes}: at most {self._max_bytes} are allowed"
                )
            self.reserved_bytes += nbytes


def _bytes_of(image: Image) -> int:
    per_pixel = _GREY_BYTES_PER_PIXEL.get(image.mode, _COLOUR_BYTES_PER_PIXEL)
    return per_pixel * image.width * image.height

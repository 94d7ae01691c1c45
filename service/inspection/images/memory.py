"""How much decoded images may hold at once, whoever sent them and wherever they wait."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from PIL.Image import Image

from service.errors import QueueFull

_BYTES_PER_PIXEL = 4  # Pillow keeps RGB in as many


class Room:
    """Bytes for decoded images, taken before the first pixel is; one image alone always has room.

    What was taken comes back when the image itself is let go, so that one that nobody waits for any
    more counts for as long as a thread is still at work on it. Thread-safe.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = RLock()  # an image may be let go while this thread holds it
        self.held = 0

    @contextmanager
    def taken(self, size: tuple[int, int]) -> Iterator[list[Image]]:
        """Decode within; the image put into the list keeps the room. Raises `QueueFull`."""
        nbytes = _BYTES_PER_PIXEL * size[0] * size[1]
        self._take(nbytes)
        kept: list[Image] = []
        try:
            yield kept
        finally:
            if kept:
                weakref.finalize(kept[0], self._take, -nbytes).atexit = False
            else:
                self._take(-nbytes)

    def _take(self, nbytes: int) -> None:
        with self._lock:
            if nbytes > 0 and self.held and self.held + nbytes > self._max_bytes:
                raise QueueFull(f"decoded images hold {self.held} bytes, and no more are decoded")
            self.held += nbytes

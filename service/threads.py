"""The threads that decode and draw, and what their work may take at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_LARGE_PICTURE_PX = 8_000_000
"""A picture of more is drawn when no other such is: it takes several bytes for each pixel."""


class Threads:
    """A pool of threads, asked from one event loop."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._large_picture = asyncio.Lock()

    def start(self, call: Callable[[], T], ended: Callable[[], None]) -> asyncio.Future[T]:
        """Run a call; `ended` follows on the loop when the thread is done, waited for or not."""
        loop = asyncio.get_running_loop()
        running = self._pool.submit(call)
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(ended))
        return asyncio.wrap_future(running)

    async def draw(self, size: tuple[int, int], call: Callable[[], T]) -> T:
        """Draw a picture of `size` (width, height), large ones one after the other."""
        if size[0] * size[1] <= _LARGE_PICTURE_PX:
            return await self.start(call, lambda: None)
        await self._large_picture.acquire()
        return await self.start(call, self._large_picture.release)

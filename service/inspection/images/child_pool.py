"""A pool of processes that decode: spawned on demand, killed when the client has gone."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from model.errors import ImageError
from model.images.decoding import DecodeLimits
from service.errors import DeadlineExceeded, InspectionFailed
from service.inspection.images.child_process import ChildDied, DecodeChild
from service.inspection.images.inputs import Inputs, Order

logger = logging.getLogger("service.decoding")


class DecodeChildren:
    """At most `most` decode processes, with a thread for each.

        async with DecodeChildren(2, limits) as children:
            inputs = await children.inputs(content, order, peak_bytes)

    An image may take `max_decode_s`. `ended` is called with "killed" or "died" for each child that
    ends while it decodes. Belongs to one event loop.
    """

    def __init__(
        self,
        most: int,
        limits: DecodeLimits,
        max_decode_s: float = 30.0,
        ended: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._limits = limits
        self._max_decode_s = max_decode_s
        self._ended = ended
        self._places = asyncio.Semaphore(most)
        self._threads = ThreadPoolExecutor(most, "decode-child")
        self._idle: list[DecodeChild] = []
        self._busy: set[DecodeChild] = set()

    @property
    def pids(self) -> list[int]:
        """The ids of the running processes."""
        return [child.pid for child in (*self._idle, *self._busy) if child.pid is not None]

    async def inputs(self, content: bytes, order: Order, peak_bytes: int) -> Inputs:
        """Decode and frame an image in a child; cancelling kills the child.

        Raises `ImageError`, `DeadlineExceeded` if decoding takes too long, and `InspectionFailed`
        if the child dies.
        """
        async with self._places:
            child = self._idle.pop() if self._idle else DecodeChild(self._limits)
            self._busy.add(child)
            try:
                inputs = await self._in_time(child, content, order, peak_bytes)
            except ImageError:
                self._idle.append(child)
                raise
            except InspectionFailed:
                self._ended("died")
                raise
            except BaseException:
                child.kill()  # the thread that waits for its answer then reaps the process
                self._ended("killed")
                raise
            finally:
                self._busy.discard(child)
            self._idle.append(child)
            return inputs

    async def _in_time(
        self, child: DecodeChild, content: bytes, order: Order, peak_bytes: int
    ) -> Inputs:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, child.start)
            async with asyncio.timeout(self._max_decode_s):
                return await loop.run_in_executor(
                    self._threads, child.inputs, content, order, peak_bytes
                )
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"decoding this image took longer than {self._max_decode_s:g} s: save it as PNG or "
                "baseline JPEG, or send a smaller one"
            ) from error
        except ChildDied as error:
            logger.warning("a decode child died on an image of %d bytes: %s", len(content), error)
            raise InspectionFailed(
                f"the process that decoded this image died ({error}): the image counts neither as "
                "OK nor as NG"
            ) from error

    async def __aenter__(self) -> "DecodeChildren":
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every child, including busy ones."""
        for child in self._busy:
            child.kill()
        for child in self._idle:
            await asyncio.to_thread(child.close)
        await asyncio.to_thread(self._threads.shutdown)

"""Writes that nobody waits for, in bounded number and bytes."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from uuid import UUID

from service.errors import DeadlineExceeded
from service.inspection.result import PartResult

logger = logging.getLogger("service.later")

_LONGEST_S = 600.0
_MAX_BYTES = 256 * 2**20


class LaterWrites:
    """Runs writes after their answers. Belongs to one event loop.

    await later.start(inspection_id, write, image_bytes, deadline)
    """

    def __init__(self, max_pending: int, max_bytes: int = _MAX_BYTES) -> None:
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._writes: dict[UUID, asyncio.Task[None]] = {}
        self._bytes = 0

    @staticmethod
    def deadline() -> float:
        """Return the deadline of a write that nobody waits for, by the event loop's clock."""
        return asyncio.get_running_loop().time() + _LONGEST_S

    async def start(
        self,
        inspection_id: UUID,
        write: Callable[[float], Coroutine[None, None, PartResult]],
        nbytes: int,
        deadline: float,
    ) -> None:
        """Start a write that holds so many bytes, once there is room. Raises `DeadlineExceeded`.

        `deadline`, for the start alone, is by the event loop's clock.
        """
        await self.settle(inspection_id, deadline)
        while self._writes and (
            len(self._writes) >= self._max_pending or self._bytes + nbytes > self._max_bytes
        ):
            await self._wait(self._writes.values(), deadline)
        self._bytes += nbytes
        task = asyncio.create_task(self._run(inspection_id, write))
        self._writes[inspection_id] = task
        task.add_done_callback(lambda _: self._end(inspection_id, nbytes))

    async def settle(self, inspection_id: UUID, deadline: float) -> None:
        """Wait for the write of an id, if there is one. Raises `DeadlineExceeded`."""
        while (task := self._writes.get(inspection_id)) is not None:
            await self._wait([task], deadline)

    async def close(self) -> None:
        """Wait for all writes."""
        while self._writes:
            await asyncio.wait(self._writes.values())

    async def _wait(self, tasks: Iterable[asyncio.Task[None]], deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "the part was inspected, but earlier ones were still being recorded at its deadline"
            ) from error

    async def _run(
        self, inspection_id: UUID, write: Callable[[float], Coroutine[None, None, PartResult]]
    ) -> None:
        try:
            await write(self.deadline())
        except Exception as error:
            logger.error(  # noqa: TRY400 - it says why
                "inspection %s was answered, but could not be recorded: %s", inspection_id, error
            )

    def _end(self, inspection_id: UUID, nbytes: int) -> None:
        del self._writes[inspection_id]
        self._bytes -= nbytes

"""One batch after the other, the next handed over a moment before the last should end.

Else a lane would stand still while the news of its last batch goes to the front and the next comes
back: 2 to 6 ms where the processor is busy.
"""

import asyncio
from collections.abc import Callable, Coroutine

from service.workers.batcher import Batcher
from service.workers.jobs import Batch
from service.workers.process import ProcessDied

_AHEAD = 0.125
_MOST_AHEAD_S = 0.01
"""How long before a batch should end the next one goes, by what it should take: what comes later
misses that one."""


class Lane:
    """Has a process compute batches, at most one of them ahead.

    `expected_s` says how long a batch should take, 0 where nothing is known; `compute` has the
    process compute it.
    """

    def __init__(
        self,
        batcher: Batcher,
        expected_s: Callable[[Batch], float],
        compute: Callable[[Batch], Coroutine[None, None, None]],
    ) -> None:
        self._batcher = batcher
        self._expected_s = expected_s
        self._compute = compute

    async def serve(self, death: asyncio.Task[str], tasks: asyncio.TaskGroup) -> None:
        """Work until the process dies: raises `ProcessDied`."""
        batch = await self._next_batch(death)
        computing = tasks.create_task(self._compute(batch))
        while True:
            ahead = await self._batch_ahead(death, batch, computing)
            batch = ahead or await self._next_batch(death)
            last, computing = computing, tasks.create_task(self._compute(batch))
            await asyncio.wait({last})

    async def _batch_ahead(
        self, death: asyncio.Task[str], batch: Batch, computing: asyncio.Task[None]
    ) -> Batch | None:
        """Wait until a batch should nearly be done, and then for another one.

        None, once it is done, where none came or it took twice as long as it should: a process that
        hangs is given no more.
        """
        if expected_s := self._expected_s(batch):
            lead_s = min(_MOST_AHEAD_S, _AHEAD * expected_s)
            await asyncio.wait({computing}, timeout=expected_s - lead_s)
            if not computing.done():
                ahead = await self._first_batch(death, computing, within_s=expected_s)
                if ahead is not None:
                    return ahead
        await asyncio.wait({computing})
        return None

    async def _next_batch(self, death: asyncio.Task[str]) -> Batch:
        batch = await self._first_batch(death)
        assert batch is not None
        return batch

    async def _first_batch(
        self,
        death: asyncio.Task[str],
        *others: asyncio.Task[None],
        within_s: float | None = None,
    ) -> Batch | None:
        """Wait for a batch; None where one of the others ends first, or the time."""
        taking = asyncio.create_task(self._batcher.next_batch())
        try:
            ending = {taking, death, *others}
            await asyncio.wait(ending, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if taking.done():  # in this very moment: nobody else will have it computed
                self._batcher.take_back(taking.result())
                self._batcher.finish(taking.result())
            raise
        finally:
            taking.cancel()
        if taking.done():
            return taking.result()
        if death.done():
            raise ProcessDied(f"{death.result()} while idle")
        return None

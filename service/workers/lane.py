"""A lane: sends one batch after the other, each shortly before the previous one should end.

Otherwise the lane would idle for 2 to 6 ms on a busy processor, while its result goes to the
service and the next batch comes back.
"""

import asyncio
from collections.abc import Callable, Coroutine

from service.workers.batcher import Batcher
from service.workers.jobs import Batch
from service.workers.process import ProcessDied

_AHEAD = 0.125
_MOST_AHEAD_S = 0.01
"""The next batch is sent this share of the expected time (at most so many seconds) before the
expected end; images that arrive later miss it."""


class Lane:
    """Sends batches to a process, at most one ahead.

    `expected_s` returns a batch's expected seconds, 0 if unknown. `compute` sends a batch to the
    process and waits for the result.
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
        """Send batches until the process dies. Raises `ProcessDied`."""
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
        """Wait until `batch` is nearly done, and return the next batch.

        Returns None, once `batch` is done, if no other arrived or if `batch` took twice its
        expected time: a process that hangs gets no more batches.
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
        """Wait for a batch; returns None if one of `others` or the time ends first."""
        taking = asyncio.create_task(self._batcher.next_batch())
        try:
            ending = {taking, death, *others}
            await asyncio.wait(ending, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if taking.done():  # the batch is already off the queue: put it back
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

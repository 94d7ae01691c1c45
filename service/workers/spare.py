"""The spare: a worker process, loaded and warm, that waits to take over from one that dies.

One spare serves for all workers on the CPU; a GPU has no room for a second set of weights. It is
started after the workers, at low priority, loads and unloads as they do, and computes
nothing. Without enough memory there is none.

    spare = Spare(plan, supervision, metrics, forced=False, budget_bytes=None)
    task = asyncio.create_task(spare.run(workers))
    handover = spare.claim()      # after a worker's process has died
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.checkpoints.key import CheckpointKey
from service.telemetry.metrics import Metrics
from service.workers.free_memory import free_bytes, reserve_bytes
from service.workers.pipe.messages import LoadReply, PriorLoad, Resident, WorkerPlan, WorkerStats
from service.workers.process import ProcessDied, WorkerProcess
from service.workers.protocol import SpareState, SpareStatus
from service.workers.supervision import Supervision

logger = logging.getLogger("service.spare")

_DEADLY = 2
"""After so many deaths while loading a checkpoint, the spare leaves it out."""
_PATIENCE_S = 3600.0
"""At low priority on a busy machine, a start or a load may take very long."""
_CHECK_MEMORY_S = 10.0


class Guarded(Protocol):
    """A worker that the spare can take over from."""

    @property
    def is_at_rest(self) -> bool:
        """Whether its process serves, and loads nothing."""

    @property
    def residents(self) -> Mapping[CheckpointKey, Resident]:
        """Its loaded checkpoints."""

    @property
    def stats(self) -> WorkerStats:
        """Its measurements of itself."""

    def keeps(self, key: CheckpointKey) -> bool:
        """Whether a checkpoint is loaded, or will be at the next start of a process."""

    def prior(self, key: CheckpointKey) -> PriorLoad:
        """Return the results that loading the checkpoint into another process need not measure."""


@dataclass(frozen=True, slots=True)
class Handover:
    """A process that goes on as a worker, and the replies to its loads."""

    process: WorkerProcess
    loaded: Mapping[CheckpointKey, LoadReply]


class NoMemory(Exception):
    """The spare must end, because other processes need its memory."""


class Spare:
    """A process in reserve, which is replaced after it took over. Belongs to one event loop.

    It exists only while free memory allows it, unless it is `forced`. `budget_bytes` limits the
    weights. `settle_s` after the workers are ready, it is started.
    """

    settle_s = 2.0

    def __init__(
        self,
        plan: WorkerPlan,
        supervision: Supervision,
        metrics: Metrics,
        *,
        forced: bool,
        budget_bytes: int | None,
    ) -> None:
        self._plan = plan
        self._supervision = supervision
        self._metrics = metrics
        self._forced = forced
        self._budget_bytes = budget_bytes
        self._workers: Sequence[Guarded] = ()
        self._process: WorkerProcess | None = None
        self._life: asyncio.Task[None] | None = None
        self._loaded: dict[CheckpointKey, LoadReply] = {}
        self._model_bytes = 0
        self._stale: set[CheckpointKey] = set()
        self._refused: set[CheckpointKey] = set()
        self._deaths: Counter[CheckpointKey] = Counter()
        self._changed = asyncio.Event()
        self._set(SpareState.WAITING, "it starts after the workers")

    @property
    def is_ready(self) -> bool:
        """Whether it is loaded and warm, so that a worker can be replaced at once."""
        return self.status.state is SpareState.READY

    def note_change(self) -> None:
        """Note that a worker has loaded or unloaded something, or has died."""
        self._changed.set()

    def refresh(self, key: CheckpointKey) -> None:
        """Load a checkpoint again, because the workers did."""
        self._loaded.pop(key, None)
        self._stale.add(key)
        self._refused.discard(key)
        self._changed.set()

    def claim(self) -> Handover | None:
        """Give the process away at normal priority, if it has started and loaded something."""
        if self._process is None or not self._loaded:
            return None
        handover = Handover(self._process, dict(self._loaded))
        self._process = None
        if self._life is not None:
            self._life.cancel()
        self._set(SpareState.WAITING, "the spare has taken over; another one follows")
        handover.process.take_over()
        return handover

    async def run(self, workers: Sequence[Guarded]) -> None:
        """Keep a spare until cancelled."""
        self._workers = workers
        failures = 0
        try:
            while True:
                self._life = asyncio.create_task(self._live())
                try:
                    await asyncio.wait({self._life})
                finally:
                    await _end(self._life)
                error = None if self._life.cancelled() else self._life.exception()
                failures = failures + 1 if error and not isinstance(error, NoMemory) else 0
                if error is not None:
                    await self._pause(error, failures)
        finally:
            self._set(SpareState.OFF, "shut down")

    async def _pause(self, error: BaseException, failures: int) -> None:
        if isinstance(error, NoMemory):
            if self.status.state is not SpareState.NO_MEMORY:
                logger.warning("there is no spare worker: %s", error)
            self._set(SpareState.NO_MEMORY, str(error))
            delay_s = _CHECK_MEMORY_S
        else:
            delay_s = self._supervision.delay_s(failures)
            if isinstance(error, ProcessDied):
                logger.warning("the spare worker: %s; next start in %.1f s", error, delay_s)
            else:
                logger.error("the spare worker could not be supervised", exc_info=error)
            self._set(SpareState.WAITING, str(error))
        await asyncio.sleep(delay_s)

    async def _live(self) -> None:
        """Start a process and keep it in accord with the workers.

        Raises `ProcessDied` and `NoMemory`; is cancelled when the process is given away.
        """
        await self._await_workers()
        self._check_memory(self._needed_bytes() + reserve_bytes())
        self._set(SpareState.PREPARING, "starting")
        process = self._process = WorkerProcess(self._plan)
        self._loaded, self._stale, self._refused = {}, set(), set()
        self._model_bytes = 0
        try:
            await process.start(_PATIENCE_S)
            while True:
                await self._fill(process)
                await self._rest(process)
        finally:
            if self._process is process:  # it was not given away
                self._process = None
                await process.stop(0.0)

    async def _await_workers(self) -> None:
        """Wait until no worker starts or loads."""
        while True:
            while not all(worker.is_at_rest for worker in self._workers):
                await self._await_change(self.settle_s)
            await asyncio.sleep(self.settle_s)
            if all(worker.is_at_rest for worker in self._workers):
                return

    async def _fill(self, process: WorkerProcess) -> None:
        """Unload and load until the process has the workers' checkpoints."""
        while True:
            self._changed.clear()
            surplus = [key for key in self._loaded if not self._is_kept(key)]
            if surplus:
                del self._loaded[surplus[0]]
                self._model_bytes = (
                    await process.unload(surplus[0], _PATIENCE_S)
                ).stats.model_bytes
            elif (key := self._missing()) is not None:
                self._set(SpareState.PREPARING, f"loading {key}")
                await self._load(process, key)
            else:
                return

    async def _load(self, process: WorkerProcess, key: CheckpointKey) -> None:
        prior = next(worker.prior(key) for worker in self._workers if key in worker.residents)
        self._stale.discard(key)
        try:
            reply = await process.load(key, _PATIENCE_S, prior)
        except ProcessDied:
            self._deaths[key] += 1
            raise
        if isinstance(reply.loaded, str):
            logger.warning("the spare worker cannot load checkpoint %s: %s", key, reply.loaded)
            self._refused.add(key)
        else:
            self._model_bytes = reply.stats.model_bytes
            if key not in self._stale:
                self._loaded[key] = reply

    async def _rest(self, process: WorkerProcess) -> None:
        """Wait for a change. Raises `ProcessDied` and `NoMemory`."""
        self._set(SpareState.READY, "ready")
        # Only now: while it prepares at low priority, it may be silent for long.
        watch = asyncio.create_task(process.watch(self._supervision.heartbeat_timeout_s))
        death = asyncio.create_task(process.wait_dead())
        changed = asyncio.create_task(self._await_change(_CHECK_MEMORY_S))
        try:
            await asyncio.wait({death, changed}, return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise ProcessDied(death.result())
            self._check_memory(reserve_bytes() // 2)
        finally:
            for task in (watch, death, changed):
                await _end(task)

    async def _await_change(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()

    def _missing(self) -> CheckpointKey | None:
        """Return the next checkpoint to load: one that a worker has, and that fits."""
        for worker in self._workers:
            for key, resident in worker.residents.items():
                is_tried = key in self._loaded or key in self._refused
                if is_tried or self._deaths[key] >= _DEADLY or not self._is_kept(key):
                    continue
                if not self._loaded or self._fits(resident.bytes):
                    return key
        return None

    def _fits(self, nbytes: int) -> bool:
        return self._budget_bytes is None or self._model_bytes + nbytes <= self._budget_bytes

    def _is_kept(self, key: CheckpointKey) -> bool:
        return any(worker.keeps(key) for worker in self._workers)

    def _needed_bytes(self) -> int:
        return max((worker.stats.device_bytes for worker in self._workers), default=0)

    def _check_memory(self, needed_bytes: int) -> None:
        """Raise `NoMemory` if fewer bytes are free."""
        if self._forced:
            return
        free = free_bytes()
        if free is None:
            raise NoMemory("the system does not say how much memory is free")
        if free < needed_bytes:
            raise NoMemory(
                f"{free / 2**20:.0f} MB of memory are free, and it needs "
                f"{needed_bytes / 2**20:.0f} MB"
            )

    def _set(self, state: SpareState, reason: str) -> None:
        self.status = SpareStatus(state, reason)
        for other in SpareState:
            self._metrics.spare_state.labels(other.value).set(other is state)


async def _end(task: "asyncio.Task[None] | asyncio.Task[str]") -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # asyncio would log it

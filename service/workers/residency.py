"""Loads checkpoints onto one worker's device, and unloads some to make room.

A checkpoint is loaded on an operator's request, or when the first image waits for it. If all loaded
ones would exceed `budget_bytes`, the least recently used idle one is unloaded; if none is idle, one
that is in use, after its images are answered. One that a cluster keeps here is the last.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from model.checkpoints.key import CheckpointKey
from service.errors import CheckpointUnavailable, NoWorkerReady
from service.telemetry.metrics import Metrics
from service.workers.batcher import Batcher
from service.workers.latency import Latencies
from service.workers.pipe.messages import LoadReply, LoadReport, Resident, WorkerStats
from service.workers.process import ProcessDied, WorkerProcess
from service.workers.refusals import Refusals
from service.workers.residents import ResidencyLimits, Residents

logger = logging.getLogger("service.residency")

_RETRY_AFTER_S = 60


class Residency:
    """The checkpoints of one worker, across its processes. Belongs to one event loop.

    Each process loads the `wanted` checkpoints at its start. `on_change` is called when a
    checkpoint was loaded or is no longer wanted. `table` has the loaded ones.
    """

    def __init__(
        self,
        worker: str,
        wanted: tuple[CheckpointKey, ...],
        limits: ResidencyLimits,
        batcher: Batcher,
        latencies: Latencies,
        metrics: Metrics,
    ) -> None:
        self._worker = worker
        self._wanted = dict.fromkeys(wanted)
        self._limits = limits
        self._batcher = batcher
        self._latencies = latencies
        self._metrics = metrics
        self._process: WorkerProcess | None = None
        self._serving = False
        self.table = Residents(worker, limits.budget_bytes, metrics)
        self._loads: dict[CheckpointKey, asyncio.Task[LoadReport]] = {}
        self._refusals = Refusals()
        self._refused: dict[CheckpointKey, str] = {}
        self._catching_up: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        metrics.expect_loads(worker, wanted)

    @property
    def residents(self) -> Mapping[CheckpointKey, Resident]:
        """The loaded checkpoints."""
        return {
            key: replace(self.table[key], latency_line=self._latencies.line(key))
            for key in self.table
        }

    @property
    def is_loading(self) -> bool:
        """Whether a load is in progress."""
        return bool(self._loads)

    def keeps(self, key: CheckpointKey) -> bool:
        """Whether a checkpoint is loaded, or will be at the next start of a process."""
        return key in self._wanted

    def misses(self, key: CheckpointKey) -> bool:
        """Whether a checkpoint should be loaded, is not, and may be tried."""
        is_missing = self.keeps(key) and key not in self.table
        return is_missing and not self._refusals.deadly(key)

    def load_s(self, key: CheckpointKey) -> float:
        """Return the expected seconds of the load that a job would wait for; 0 if unknown."""
        return 0.0 if key in self.table else self.table.load_s(key)

    async def attach(self, process: WorkerProcess) -> dict[CheckpointKey, str]:
        """Load the wanted checkpoints into a new process; return those that fail, and why.

        No images are computed until it returns. Raises `ProcessDied`.
        """
        self._process = process
        refused = {}
        # Checkpoints with waiting images come first.
        for key in sorted(self._wanted, key=lambda key: not self._batcher.waiting(key)):
            if key not in self._wanted:  # unloaded meanwhile
                continue
            if why := self._refusals.deadly(key):
                refused[key] = why
                continue
            if not self.table.has_room(self.table.expected_bytes(key)):
                break
            loaded_before = len(self.table)
            try:
                await self._start_load(key)
            except CheckpointUnavailable as error:
                refused[key] = str(error)
            else:
                if len(self.table) <= loaded_before:  # memory is full: it replaced another
                    break
        self._refused = refused
        self._serve()
        return refused

    def take_over(
        self, process: WorkerProcess, loaded: Mapping[CheckpointKey, LoadReply]
    ) -> dict[CheckpointKey, str]:
        """Serve at once with a process that has loaded checkpoints in advance.

        Loads the missing ones and unloads those no longer wanted while it serves. Returns the
        checkpoints that the process before could not load, and why.
        """
        self._process = process
        for key, reply in loaded.items():
            if key in self._wanted and isinstance(reply.loaded, LoadReport):
                self.table.note(reply.stats)
                self.table.add(key, reply.loaded, in_advance=True)
                self._latencies.sharing.setdefault(key, reply.loaded.sharing)
        self._serve()
        unwanted = [key for key in loaded if key not in self._wanted]
        self._catching_up = asyncio.create_task(self._catch_up(process, unwanted))
        self._refused = {key: why for key, why in self._refused.items() if self.misses(key)}
        return dict(self._refused)

    def detach(self) -> None:
        """Forget the process, which has ended, and its loaded checkpoints."""
        self._process = None
        self._serving = False
        for key in self.table:
            self.table.forget(key)
        self._batcher.close_all()
        if self._catching_up is not None:
            self._catching_up.cancel()
        for load in self._loads.values():
            load.cancel()
        self._loads.clear()
        self.table.note(WorkerStats())

    def want(self, key: CheckpointKey) -> None:
        """Load a checkpoint for its waiting jobs, or fail them if it cannot be loaded."""
        if self._process is None or key in self.table or key in self._loads:
            return
        if error := self._refusals.standing(key):
            self._batcher.refuse(key, error)
            return
        self._start_load(key).add_done_callback(lambda load: self._answer_waiting(key, load))

    async def load(self, key: CheckpointKey) -> LoadReport:
        """Load a checkpoint, again if it is loaded. Raises `CheckpointUnavailable`.

        A loaded one serves until the new one is ready; if the load fails, it stays.
        """
        if self._process is None:
            raise NoWorkerReady(f"worker {self._worker} is starting; try again")
        load = self._start_load(key, again=True)
        await asyncio.wait([load])  # does not cancel the load if the caller is cancelled
        error = load.exception() if not load.cancelled() else ProcessDied("its process has ended")
        if isinstance(error, ProcessDied):
            raise CheckpointUnavailable(f"worker {self._worker}: {error}") from error
        return load.result()

    async def unload(self, key: CheckpointKey) -> None:
        """Unload a checkpoint after its waiting images are done; a later image loads it again."""
        self._wanted.pop(key, None)
        self.on_change()
        try:
            async with self._changing:
                if key in self.table:
                    await self._free(key)
        except ProcessDied:
            logger.info("checkpoint %s is unloaded: its worker's process has ended", key)
        if self._batcher.waiting(key):
            self.want(key)

    def _serve(self) -> None:
        self._serving = True
        for key in self.table:
            self._batcher.open(key)
        for key in self._batcher.unopened:
            self.want(key)
        self.on_change()

    async def _catch_up(self, process: WorkerProcess, unwanted: Sequence[CheckpointKey]) -> None:
        """Bring a process that took over in accord with the wanted checkpoints."""
        for key in unwanted:
            async with self._changing:
                if key not in self.table:
                    reply = await process.unload(key, self._limits.load_timeout_s)
                    self.table.note(reply.stats)
        for key in filter(self.misses, list(self._wanted)):
            fits = self.table.has_room(self.table.expected_bytes(key))
            if key not in self._refused and fits:
                with contextlib.suppress(CheckpointUnavailable):
                    await self._start_load(key)

    def _start_load(self, key: CheckpointKey, *, again: bool = False) -> "asyncio.Task[LoadReport]":
        if key not in self._loads:
            load = asyncio.create_task(self._load(key, again=again))
            self._loads[key] = load
            load.add_done_callback(partial(self._forget_load, key))
        return self._loads[key]

    def _forget_load(self, key: CheckpointKey, load: "asyncio.Task[LoadReport]") -> None:
        if self._loads.get(key) is load:
            del self._loads[key]
        if not load.cancelled():
            load.exception()  # asyncio would log it if no caller waits any more

    def _answer_waiting(self, key: CheckpointKey, load: "asyncio.Task[LoadReport]") -> None:
        if load.cancelled() or not (error := load.exception()):
            return
        if isinstance(error, CheckpointUnavailable):
            self._refusals.hold(key, error)
            self._batcher.refuse(key, error)
        elif not isinstance(error, ProcessDied):  # after a death, jobs wait for the next process
            logger.error("loading checkpoint %s on demand failed", key, exc_info=error)
            self._batcher.refuse(key, CheckpointUnavailable(f"checkpoint {key} cannot be loaded"))

    async def _load(self, key: CheckpointKey, *, again: bool) -> LoadReport:
        async with self._changing:
            if key in self.table and not again:
                resident = self.table[key]
                return LoadReport(
                    resident.bytes, resident.loaded_s, resident.golden,
                    engine=resident.engine,
                )  # fmt: skip
            await self._make_room(key, self.table.expected_bytes(key))
            measure = again or self._latencies.line(key) is None
            report = self._accept(key, await self._ask(key, measure=measure), measure=measure)
            await self._make_room(key, 0)  # the expected size was only a guess
            if self._serving:
                self._batcher.open(key)
            return report

    async def _ask(self, key: CheckpointKey, *, measure: bool) -> LoadReply:
        process = self._attached()
        self._metrics.expect_loads(self._worker, [key])
        prior = None if measure else self._latencies.prior(key)
        try:
            reply = await process.load(key, self._limits.load_timeout_s, prior)
        except ProcessDied:
            self._refusals.count_death(key)
            raise
        self._refusals.clear_deaths(key)
        return reply

    def _accept(self, key: CheckpointKey, reply: LoadReply, *, measure: bool) -> LoadReport:
        self.table.note(reply.stats)
        labels = (self._worker, key.name, key.version)
        if isinstance(reply.loaded, str):
            self._metrics.model_loads.labels(*labels, "failed").inc()
            raise CheckpointUnavailable(reply.loaded, _RETRY_AFTER_S)
        report = reply.loaded
        self._latencies.sharing[key] = report.sharing
        if measure:
            self._latencies.learn(key, reply.seconds)
        if reply.batch_limit is not None:
            self._latencies.remember_limit(key, reply.batch_limit)
        self.table.add(key, report)
        self._wanted[key] = None
        self.on_change()
        return report

    async def _make_room(self, key: CheckpointKey, nbytes: int) -> None:
        """Unload others until so many bytes fit; if `key` alone exceeds the budget, allow it."""
        while not self.table.has_room(nbytes):
            victim = self.table.victim(key, self._batcher.is_busy)
            if victim is None:
                return
            await self._free(victim)
            self._wanted.pop(victim, None)
            self.on_change()
            self._metrics.model_evictions.labels(self._worker).inc()
            if self._batcher.waiting(victim):
                self.want(victim)

    async def _free(self, key: CheckpointKey) -> None:
        await self._batcher.close(key)
        reply = await self._attached().unload(key, self._limits.load_timeout_s)
        self.table.note(reply.stats)
        self.table.forget(key)

    def _attached(self) -> WorkerProcess:
        if self._process is None:
            raise ProcessDied("its process has ended")
        return self._process

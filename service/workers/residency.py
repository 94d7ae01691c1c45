"""Loads checkpoints onto one worker's device, and unloads some to make room.

A checkpoint is loaded on an operator's request, or when the first image waits for it. If all loaded
ones would exceed `budget_bytes`, the least recently used idle one is unloaded; if none is idle, one
that is in use, after its images are answered.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from model.checkpoints.key import CheckpointKey
from service.errors import CheckpointUnavailable, NoWorkerReady
from service.telemetry.metrics import Metrics
from service.workers.batcher import Batcher
from service.workers.latency import Latencies
from service.workers.pipe.messages import LoadReply, LoadReport, Resident, WorkerStats
from service.workers.process import ProcessDied, WorkerProcess

logger = logging.getLogger("service.residency")

_RETRY_AFTER_S = 60
_REFUSAL_HOLDS_S = 5.0
_DEADLY = 2
"""After so many deaths in a row while loading a checkpoint, the next start leaves it out."""


@dataclass(frozen=True, slots=True)
class ResidencyLimits:
    """The memory for weights, and the time-out of a load."""

    budget_bytes: int | None
    load_timeout_s: float


class Residency:
    """The checkpoints of one worker, across its processes. Belongs to one event loop.

    Each process loads the `wanted` checkpoints at its start.
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
        self._residents: dict[CheckpointKey, Resident] = {}
        self._sizes: dict[CheckpointKey, int] = {}
        self._load_seconds: dict[CheckpointKey, float] = {}
        self._loads: dict[CheckpointKey, asyncio.Task[LoadReport]] = {}
        # Why an image's load failed, and until when images are refused without another load.
        self._refusals: dict[CheckpointKey, tuple[CheckpointUnavailable | None, float]] = {}
        self._deaths: Counter[CheckpointKey] = Counter()
        self._changing = asyncio.Lock()
        self._stats = WorkerStats()
        metrics.expect_loads(worker, wanted)

    @property
    def residents(self) -> Mapping[CheckpointKey, Resident]:
        """The loaded checkpoints."""
        return {
            key: replace(resident, latency_line=self._latencies.line(key))
            for key, resident in self._residents.items()
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
        return self.keeps(key) and key not in self._residents and self._deaths[key] < _DEADLY

    def load_s(self, key: CheckpointKey) -> float:
        """Return the expected seconds of the load that a job would wait for; 0 if unknown."""
        return 0.0 if key in self._residents else self._load_seconds.get(key, 0.0)

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
            if self._deaths[key] >= _DEADLY:
                refused[key] = f"{self._deaths[key]} worker processes died while loading it"
                continue
            if not self._has_room(self._expected_bytes(key)):
                break
            loaded_before = len(self._residents)
            try:
                await self._start_load(key)
            except CheckpointUnavailable as error:
                refused[key] = str(error)
            else:
                if len(self._residents) <= loaded_before:  # memory is full: it replaced another
                    break
        self._serving = True
        for key in self._residents:
            self._batcher.open(key)
        for key in self._batcher.unopened:
            self.want(key)
        return refused

    def detach(self) -> None:
        """Forget the process, which has ended, and its loaded checkpoints."""
        self._process = None
        self._serving = False
        for key in list(self._residents):
            self._forget(key)
        self._batcher.close_all()
        for load in self._loads.values():
            load.cancel()
        self._loads.clear()
        self.note(WorkerStats())

    def want(self, key: CheckpointKey) -> None:
        """Load a checkpoint for its waiting jobs, or fail them if it cannot be loaded."""
        if self._process is None or key in self._residents or key in self._loads:
            return
        error, until = self._refusals.get(key, (None, 0.0))
        if error and asyncio.get_running_loop().time() < until:
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
        try:
            async with self._changing:
                if key in self._residents:
                    await self._free(key)
        except ProcessDied:
            logger.info("checkpoint %s is unloaded: its worker's process has ended", key)
        if self._batcher.waiting(key):
            self.want(key)

    def touch(self, key: CheckpointKey) -> None:
        """Update the time of a checkpoint's last use."""
        if resident := self._residents.get(key):
            now = asyncio.get_running_loop().time()
            self._residents[key] = replace(resident, last_used=now)

    def note(self, stats: WorkerStats) -> None:
        """Publish the worker's measurements of itself."""
        self._stats = stats
        self._metrics.device_memory.labels(self._worker).set(stats.device_bytes)
        self._metrics.weights_bytes.labels(self._worker).set(stats.model_bytes)
        self._metrics.compute_seconds.labels(self._worker).inc(stats.compute_s)

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
            until = asyncio.get_running_loop().time() + _REFUSAL_HOLDS_S
            self._refusals[key] = error, until
            self._batcher.refuse(key, error)
        elif not isinstance(error, ProcessDied):  # after a death, jobs wait for the next process
            logger.error("loading checkpoint %s on demand failed", key, exc_info=error)
            self._batcher.refuse(key, CheckpointUnavailable(f"checkpoint {key} cannot be loaded"))

    async def _load(self, key: CheckpointKey, *, again: bool) -> LoadReport:
        async with self._changing:
            resident = self._residents.get(key)
            if resident is not None and not again:
                return LoadReport(resident.bytes, resident.loaded_s, resident.golden)
            await self._make_room(key, self._expected_bytes(key))
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
            self._deaths[key] += 1
            raise
        del self._deaths[key]
        return reply

    def _accept(self, key: CheckpointKey, reply: LoadReply, *, measure: bool) -> LoadReport:
        self.note(reply.stats)
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
        now = asyncio.get_running_loop().time()
        self._residents[key] = Resident(
            report.bytes, report.seconds, now, None, report.golden_difference, now
        )
        self._wanted[key] = None
        self._sizes[key] = report.bytes
        self._load_seconds[key] = report.seconds
        self._metrics.model_loads.labels(*labels, "loaded").inc()
        self._metrics.model_load_seconds.labels(*labels).set(report.seconds)
        self._metrics.model_bytes.labels(*labels).set(report.bytes)
        return report

    def _expected_bytes(self, key: CheckpointKey) -> int:
        """Guess the bytes that a checkpoint adds: its earlier size, or the largest so far."""
        if key in self._residents:
            return 0
        return self._sizes.get(key, max(self._sizes.values(), default=0))

    def _has_room(self, nbytes: int) -> bool:
        budget = self._limits.budget_bytes
        return budget is None or self._stats.model_bytes + nbytes <= budget

    async def _make_room(self, key: CheckpointKey, nbytes: int) -> None:
        """Unload others until so many bytes fit; if `key` alone exceeds the budget, allow it."""
        while not self._has_room(nbytes):
            others = [other for other in self._residents if other != key]
            if not others:
                return
            used = {k: (self._batcher.is_busy(k), self._residents[k].last_used) for k in others}
            victim = min(others, key=used.__getitem__)
            await self._free(victim)
            self._wanted.pop(victim, None)
            self._metrics.model_evictions.labels(self._worker).inc()
            if self._batcher.waiting(victim):
                self.want(victim)

    async def _free(self, key: CheckpointKey) -> None:
        await self._batcher.close(key)
        reply = await self._attached().unload(key, self._limits.load_timeout_s)
        self.note(reply.stats)
        self._forget(key)

    def _forget(self, key: CheckpointKey) -> None:
        if self._residents.pop(key, None):
            self._metrics.model_bytes.remove(self._worker, key.name, key.version)

    def _attached(self) -> WorkerProcess:
        if self._process is None:
            raise ProcessDied("its process has ended")
        return self._process

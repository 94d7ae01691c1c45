"""A worker: one supervised process, restarted with back-off when it dies."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from model.checkpoints.key import CheckpointKey
from service.errors import CheckpointUnavailable, InspectionFailed, WorkerLost
from service.telemetry.metrics import Metrics
from service.workers.batcher import Batcher
from service.workers.jobs import Batch, Job, Priority
from service.workers.lane import Lane
from service.workers.latency import Latencies
from service.workers.pipe.messages import BatchReply, Finding, WorkerPlan
from service.workers.process import ProcessDied, WorkerProcess
from service.workers.protocol import WorkerState, WorkerStatus
from service.workers.residency import Residency

logger = logging.getLogger("service.worker")

_EXPECTED_START_S = 10.0
_MAX_RELOAD_S = 3600.0


@dataclass(frozen=True, slots=True)
class Supervision:
    """Time-outs and delays of a worker, in seconds.

    A batch may take `batch_patience` times its expected time, at least `min_batch_timeout_s` and at
    most `batch_timeout_s`, which also applies without an expectation. Checkpoints that failed to
    load at the start are tried again after `reload_s`, doubled each time.
    """

    startup_timeout_s: float
    batch_timeout_s: float
    backoff_s: float
    max_backoff_s: float
    stop_grace_s: float
    heartbeat_timeout_s: float = 10.0
    min_batch_timeout_s: float = 10.0
    batch_patience: float = 10.0
    reload_s: float = 60.0

    def delay_s(self, deaths: int) -> float:
        """Return the delay before the next start, after that many deaths in a row."""
        return min(self.max_backoff_s, self.backoff_s * 2.0 ** min(deaths - 1, 60))

    def patience_s(self, expected_s: float) -> float:
        """Return the time-out of a batch; `expected_s` is 0 without an expectation."""
        if not expected_s:
            return self.batch_timeout_s
        likely = max(self.min_batch_timeout_s, self.batch_patience * expected_s)
        return min(self.batch_timeout_s, likely)


class Worker:
    """A process on one device, with its queue and its supervision.

    The process computes batches in order, as many at once as it has lanes. `on_ready` is called
    with the checkpoints that a new process could not load, `on_death` after a process has died.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        batcher: Batcher,
        residency: Residency,
        latencies: Latencies,
        supervision: Supervision,
        metrics: Metrics,
        on_ready: Callable[[str, Mapping[CheckpointKey, str]], None],
        on_death: Callable[["Worker"], None],
    ) -> None:
        self.plan = plan
        self.batcher = batcher
        self.residency = residency
        self.state = WorkerState.STOPPED
        self.reason = "not started"
        self.pid: int | None = None
        self._latencies = latencies
        self._supervision = supervision
        self._metrics = metrics
        self._on_ready = on_ready
        self._on_death = on_death
        self._deaths = 0
        self._sent: list[Batch] = []
        self._start_took_s = _EXPECTED_START_S
        self._expected_at = math.inf
        self._metrics.expect_worker(plan.name)
        self._set(WorkerState.STOPPED, "not started")

    @property
    def is_ready(self) -> bool:
        """Whether its process is warm and takes batches."""
        return self.state is WorkerState.READY

    @property
    def status(self) -> WorkerStatus:
        """The worker's state, for readiness and operators."""
        return WorkerStatus(self.plan.name, self.state, self.reason, len(self.batcher))

    @property
    def expected_in_s(self) -> float:
        """The expected seconds until it is ready, by the duration of its last start."""
        now = asyncio.get_running_loop().time()
        return max(0.0, self._expected_at - now)

    def estimate_s(self, key: CheckpointKey, priority: Priority) -> float:
        """Return the expected seconds of a new job, including the load of its checkpoint."""
        return self.batcher.estimate_s(key, priority) + self.residency.load_s(key)

    def submit(self, job: Job) -> None:
        """Queue a job, and load its checkpoint if necessary. Raises as `admit`."""
        self.batcher.submit(job)
        self.residency.want(job.checkpoint)

    async def run(self) -> None:
        """Keep a process alive until cancelled."""
        try:
            while True:
                self._set(WorkerState.STARTING, "loading checkpoints and warming up")
                try:
                    await self._live()
                except ProcessDied as death:
                    await self._back_off(str(death))
                except Exception:
                    logger.exception("worker %s could not be supervised", self.plan.name)
                    await self._back_off("its process could not be supervised; see the log")
        finally:
            self._set(WorkerState.STOPPED, "shut down")

    async def _live(self) -> None:
        """Start a process and serve with it until it dies; raises `ProcessDied`."""
        process = WorkerProcess(self.plan)
        try:
            refused = await self._start(process)
            await self._serve(process, refused)
        finally:
            self.pid = None
            self._set(WorkerState.STOPPED, "its process has ended")
            self.residency.detach()
            await process.stop(self._supervision.stop_grace_s)

    async def _start(self, process: WorkerProcess) -> dict[CheckpointKey, str]:
        clock = asyncio.get_running_loop()
        started = clock.time()
        self._expected_at = started + self._start_took_s
        await process.start(self._supervision.startup_timeout_s)
        refused = await self.residency.attach(process)
        self._start_took_s = clock.time() - started
        self.pid = process.pid
        self._on_ready(self.plan.name, refused)
        self._set(WorkerState.READY, "ready")
        logger.info("worker %s is ready after %.1f s", self.plan.name, self._start_took_s)
        return refused

    async def _serve(self, process: WorkerProcess, refused: dict[CheckpointKey, str]) -> None:
        death = asyncio.create_task(process.wait_dead())
        watch = asyncio.create_task(process.watch(self._supervision.heartbeat_timeout_s))
        reloading = asyncio.create_task(self._load_refused(refused))
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self.plan.lanes):
                    lane = Lane(self.batcher, self._expected_s, partial(self._compute, process))
                    tasks.create_task(lane.serve(death, tasks))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._sent.clear()
            for task in (death, watch, reloading):
                task.cancel()

    def _expected_s(self, batch: Batch) -> float:
        """Return the expected seconds of a batch; 0 if unknown."""
        if self.residency.is_loading:  # the batch may wait for a warm-up pass that compiles
            return 0.0
        return self._latencies.seconds(batch.checkpoint, batch.inputs)

    def _patience_s(self, batch: Batch) -> float:
        """Return the time-out of a batch, including the batch that it may have to wait for."""
        before = self._sent[:-1] if len(self._sent) > self.plan.lanes else []
        batch_s, *others_s = map(self._expected_s, (batch, *before))
        if not batch_s or not all(others_s):
            return self._supervision.patience_s(0.0)
        return self._supervision.patience_s(batch_s + max(others_s, default=0.0))

    async def _load_refused(self, refused: dict[CheckpointKey, str]) -> None:
        """Load refused checkpoints again, at growing intervals: a disk may have come back."""
        delay_s = self._supervision.reload_s
        while refused:
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _MAX_RELOAD_S)
            for key in filter(self.residency.misses, list(refused)):
                with contextlib.suppress(CheckpointUnavailable):
                    await self.residency.load(key)
            loaded = [key for key in refused if key in self.residency.residents]
            if loaded:
                refused = {key: why for key, why in refused.items() if key not in loaded}
                self._on_ready(self.plan.name, refused)

    async def _compute(self, process: WorkerProcess, batch: Batch) -> None:
        clock = asyncio.get_running_loop()
        started = clock.time()
        self.residency.touch(batch.checkpoint)
        self._sent.append(batch)
        try:
            reply = await process.compute(batch, self._patience_s(batch))
        except (OSError, ValueError) as error:  # no memory, or images that do not fit together
            logger.error("a batch of %d was not sent to its worker: %s", len(batch.jobs), error)  # noqa: TRY400
            self._sent.remove(batch)
            batch.fail(InspectionFailed("the image could not be sent to the worker"))
        except BaseException:
            self._lose(batch)
            raise
        else:
            self._sent.remove(batch)
            self._record(batch, reply, clock.time() - started - reply.waited_s)
            batch.settle(reply.outcomes, reply.waited_s)
        finally:
            self.batcher.finish(batch)

    def _lose(self, batch: Batch) -> None:
        """Fail a batch that was being computed when the process died; queue any other again."""
        if batch not in self._sent[: self.plan.lanes]:
            self.batcher.take_back(batch)
            return
        why = "the worker died with this image on it: it was not inspected"
        batch.fail(WorkerLost(why, math.ceil(self._start_took_s)))

    def _record(self, batch: Batch, reply: BatchReply, seconds: float) -> None:
        """Record a batch's time and limit; the time of a halved batch predicts nothing."""
        self._deaths = 0
        self.residency.note(reply.stats)
        self._metrics.batch_seconds.labels(self.plan.name).observe(seconds)
        key = batch.checkpoint
        if reply.batch_limit is not None:
            self._latencies.remember_limit(key, reply.batch_limit)
        if reply.split is not None:
            self._metrics.batches_split.labels(self.plan.name, reply.split).inc()
        elif all(isinstance(outcome, Finding) for outcome in reply.outcomes):
            self._latencies.record(key, batch.inputs, seconds)

    async def _back_off(self, reason: str) -> None:
        self._deaths += 1
        delay_s = self._supervision.delay_s(self._deaths)
        self._expected_at = asyncio.get_running_loop().time() + delay_s + self._start_took_s
        self._set(WorkerState.RESTARTING, reason)
        self._metrics.worker_restarts.labels(self.plan.name).inc()
        logger.error("worker %s: %s; next start in %.1f s", self.plan.name, reason, delay_s)
        self._on_death(self)
        await asyncio.sleep(delay_s)

    def _set(self, state: WorkerState, reason: str) -> None:
        self.state, self.reason = state, reason
        self._metrics.worker_up.labels(self.plan.name).set(self.is_ready)

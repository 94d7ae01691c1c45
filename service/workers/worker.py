"""A worker: one supervised process, restarted with back-off when it dies."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from functools import partial

from model.checkpoints.key import CheckpointKey
from service.errors import CheckpointUnavailable, InspectionFailed, WorkerLost
from service.telemetry.metrics import Metrics
from service.workers.batcher import Batcher
from service.workers.jobs import Batch, Job, Priority
from service.workers.lane import Lane
from service.workers.latency import Latencies
from service.workers.pipe.messages import (
    BatchReply,
    Finding,
    PriorLoad,
    Resident,
    WorkerPlan,
    WorkerStats,
)
from service.workers.process import ProcessDied, WorkerProcess
from service.workers.protocol import WorkerState, WorkerStatus
from service.workers.residency import Residency
from service.workers.spare import Handover, Spare
from service.workers.supervision import Supervision

logger = logging.getLogger("service.worker")

_EXPECTED_START_S = 10.0
_MAX_RELOAD_S = 3600.0
_TAKEOVER_S = 1.0


class Worker:
    """A process on one device, with its queue and its supervision.

    The process computes batches in order, as many at once as it has lanes. `on_ready` is called
    with the checkpoints that a new process could not load, `on_death` after a process has died. The
    `spare`, if there is one, takes over from a process that dies.
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
        spare: Spare | None = None,
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
        self._spare = spare
        self._died_at: float | None = None
        self._ready_at = -math.inf
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
    def is_at_rest(self) -> bool:
        """Whether its process serves, and loads nothing."""
        return self.is_ready and not self.residency.is_loading

    @property
    def residents(self) -> Mapping[CheckpointKey, Resident]:
        """The loaded checkpoints."""
        return self.residency.residents

    @property
    def stats(self) -> WorkerStats:
        """The process's latest measurements of itself."""
        return self.residency.table.stats

    def keeps(self, key: CheckpointKey) -> bool:
        """Whether a checkpoint is loaded, or will be at the next start of a process."""
        return self.residency.keeps(key)

    def prior(self, key: CheckpointKey) -> PriorLoad:
        """Return the results that loading the checkpoint into another process need not measure."""
        return self._latencies.prior(key)

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
        """Serve with the spare or a new process until it dies; raises `ProcessDied`."""
        handover = self._spare.claim() if self._spare is not None else None
        process = handover.process if handover is not None else WorkerProcess(self.plan)
        try:
            refused = await (self._take_over(handover) if handover else self._start(process))
            await self._serve(process, refused)
        except ProcessDied:
            self._died_at = self._died_at or asyncio.get_running_loop().time()
            raise
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
        self._open(process, refused)
        logger.info("worker %s is ready after %.1f s", self.plan.name, self._start_took_s)
        return refused

    async def _take_over(self, handover: Handover) -> dict[CheckpointKey, str]:
        refused = self.residency.take_over(handover.process, handover.loaded)
        self._open(handover.process, refused)
        self._metrics.takeovers.labels(self.plan.name).inc()
        logger.info("worker %s is ready: the spare has taken over", self.plan.name)
        return refused

    def _open(self, process: WorkerProcess, refused: dict[CheckpointKey, str]) -> None:
        self.pid = process.pid
        self._ready_at = asyncio.get_running_loop().time()
        self._on_ready(self.plan.name, refused)
        self._set(WorkerState.READY, "ready")

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
        self.residency.table.touch(batch.checkpoint)
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
        batch.fail(WorkerLost(why, math.ceil(self._next_start_s)))

    def _record(self, batch: Batch, reply: BatchReply, seconds: float) -> None:
        """Record a batch's time and limit; the time of a halved batch predicts nothing."""
        self._deaths = 0
        if self._died_at is not None:
            recovery_s = self._ready_at - self._died_at + seconds
            self._metrics.recovery_seconds.labels(self.plan.name).observe(recovery_s)
            self._died_at = None
        self.residency.table.note(reply.stats)
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
        # A part that kills workers kills the spares as well: after another death in a row, wait.
        at_once = self._deaths == 1 and self._has_spare
        delay_s = 0.0 if at_once else self._supervision.delay_s(self._deaths)
        self._expected_at = asyncio.get_running_loop().time() + delay_s + self._next_start_s
        self._set(WorkerState.RESTARTING, reason)
        self._metrics.worker_restarts.labels(self.plan.name).inc()
        logger.error("worker %s: %s; next start in %.1f s", self.plan.name, reason, delay_s)
        self._on_death(self)
        if self._spare is not None:
            self._spare.note_change()
        await asyncio.sleep(delay_s)

    @property
    def _has_spare(self) -> bool:
        return self._spare is not None and self._spare.is_ready

    @property
    def _next_start_s(self) -> float:
        """The expected seconds of the next start."""
        return _TAKEOVER_S if self._has_spare else self._start_took_s

    def _set(self, state: WorkerState, reason: str) -> None:
        self.state, self.reason = state, reason
        self._metrics.worker_up.labels(self.plan.name).set(self.is_ready)

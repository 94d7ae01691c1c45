"""The pool of workers: assigns each job to the one that can finish it first."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from model.checkpoints.key import CheckpointKey
from service.errors import NoWorkerReady, QueueFull, ServiceError
from service.settings.telemetry import TelemetrySettings
from service.settings.workers import WorkerSettings
from service.telemetry.metrics import Metrics
from service.workers.batcher import Batcher, QueueLimits
from service.workers.child.ceiling import ceiling_bytes
from service.workers.jobs import Job, Priority
from service.workers.latency import Latencies
from service.workers.pipe.messages import LoadReport, Resident, WorkerPlan
from service.workers.protocol import SpareState, SpareStatus, WorkerState, WorkerStatus
from service.workers.residency import Residency
from service.workers.residents import ResidencyLimits
from service.workers.spare import Spare
from service.workers.supervision import Supervision
from service.workers.worker import Worker


class WorkerPool:
    """The supervised worker processes on this machine; implements `Workers`.

        async with WorkerPool(settings, keys, metrics, on_refused, ...) as workers:
            workers.submit(job)
            finding = await job.future

    Each process loads the `wanted` checkpoints at its start. Then `on_refused` is called with its
    name and the checkpoints that it could not load, each with the reason.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        wanted: tuple[CheckpointKey, ...],
        metrics: Metrics,
        on_refused: Callable[[str, Mapping[CheckpointKey, str]], None],
        *,
        weights_dir: Path,
        logs: TelemetrySettings,
    ) -> None:
        self._on_refused = on_refused
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._max_queue_bytes = settings.max_queue_bytes
        self._spare = _spare(settings, weights_dir, logs, metrics)
        self.workers: Sequence[Worker] = tuple(
            self._worker(_plan(name, settings, weights_dir, logs), wanted, settings, metrics)
            for name in settings.worker_names
        )

    def _worker(
        self,
        plan: WorkerPlan,
        wanted: tuple[CheckpointKey, ...],
        settings: WorkerSettings,
        metrics: Metrics,
    ) -> Worker:
        latencies = Latencies(settings.max_batch_size, settings.batch_efficiency)
        batcher = Batcher(plan.name, _queue_limits(settings), latencies, metrics, plan.lanes)
        limits = ResidencyLimits(settings.max_model_bytes, settings.startup_timeout_s)
        return Worker(
            plan,
            batcher,
            Residency(plan.name, wanted, limits, batcher, latencies, metrics),
            latencies,
            _supervision(settings),
            metrics,
            self._note_ready,
            self._hand_over,
            self._spare if plan.device == "cpu" else None,
        )

    async def __aenter__(self) -> Self:
        """Start every worker, without waiting until it is ready."""
        self._tasks = [asyncio.create_task(worker.run()) for worker in self.workers]
        if self._spare is not None:
            guarded = [worker for worker in self.workers if worker.plan.device == "cpu"]
            for worker in guarded:
                worker.residency.on_change = self._spare.note_change
            self._tasks.append(asyncio.create_task(self._spare.run(guarded)))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every worker; jobs that still wait fail with `NoWorkerReady`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self.workers:
            for job in worker.batcher.drain():
                job.fail(NoWorkerReady("the service is shutting down"))

    def status(self) -> list[WorkerStatus]:
        """Return the state of each worker."""
        return [worker.status for worker in self.workers]

    def unready(self) -> list[WorkerStatus]:
        """Return each worker that is not ready."""
        return [worker for worker in self.status() if worker.state is not WorkerState.READY]

    def spare(self) -> SpareStatus:
        """Return the state of the process that waits to take over from a worker."""
        if self._spare is None:
            return SpareStatus(SpareState.OFF, "switched off, or no worker computes on the CPU")
        return self._spare.status

    async def wait_change(self) -> None:
        """Wait until another worker becomes ready."""
        self._changed.clear()
        await self._changed.wait()

    def admit(
        self, checkpoint: CheckpointKey, deadline: float, priority: Priority, nbytes: int
    ) -> None:
        """Raise the error that `submit` would raise, before any work is done.

        `nbytes` is the memory of the job. Raises `Unavailable`, with the time of a retry, or
        `DeadlineExceeded` if measured times predict that the job would be late.
        """
        worker = self._soonest(checkpoint, priority)
        self._check_bytes(nbytes, worker, checkpoint, priority)
        worker.batcher.admit(checkpoint, deadline, priority)

    def submit(self, job: Job) -> None:
        """Queue a job at the worker that can compute it soonest. Raises as `admit`."""
        worker = self._soonest(job.checkpoint, job.priority)
        self._check_bytes(job.nbytes, worker, job.checkpoint, job.priority)
        worker.submit(job)

    def estimate_s(self, checkpoint: CheckpointKey, priority: Priority = Priority.NORMAL) -> float:
        """Return the expected seconds of a new job; 0 if no batch was measured yet."""
        ready = [worker for worker in self.workers if worker.is_ready]
        return min((worker.estimate_s(checkpoint, priority) for worker in ready), default=0.0)

    async def load(self, key: CheckpointKey) -> dict[str, LoadReport]:
        """Load a checkpoint on every worker, verified and warm, while others serve.

        Returns a report by worker name. Raises `CheckpointUnavailable` if any worker fails; then
        workers that did not have the checkpoint before unload it.
        """
        before = {worker for worker in self.workers if worker.residency.keeps(key)}
        loads = [worker.residency.load(key) for worker in self.workers]
        reports = await asyncio.gather(*loads, return_exceptions=True)
        failures = [report for report in reports if isinstance(report, BaseException)]
        if failures:
            for worker in self.workers:
                if worker not in before:
                    await worker.residency.unload(key)
            raise failures[0]
        if self._spare is not None:
            self._spare.refresh(key)
        return {
            worker.plan.name: report
            for worker, report in zip(self.workers, reports, strict=True)
            if isinstance(report, LoadReport)
        }

    async def unload(self, key: CheckpointKey) -> None:
        """Unload a checkpoint on every worker, once its queued and running jobs are done."""
        await asyncio.gather(*(worker.residency.unload(key) for worker in self.workers))

    def residents(self) -> dict[str, Mapping[CheckpointKey, Resident]]:
        """Return the loaded checkpoints by worker name."""
        return {worker.plan.name: worker.residency.residents for worker in self.workers}

    def holds(self, key: CheckpointKey) -> bool:
        """Whether every worker has loaded a checkpoint."""
        return all(key in worker.residency.residents for worker in self.workers)

    def _check_bytes(
        self, nbytes: int, worker: Worker, checkpoint: CheckpointKey, priority: Priority
    ) -> None:
        """Raise `QueueFull` if waiting images would take too much memory; a single one may."""
        queued_bytes = sum(worker.batcher.nbytes for worker in self.workers)
        if queued_bytes and queued_bytes + nbytes > self._max_queue_bytes:
            wait_s = worker.estimate_s(checkpoint, priority)
            raise QueueFull(
                f"waiting images take {queued_bytes} bytes of memory, and this one would add "
                f"{nbytes}: at most {self._max_queue_bytes} are allowed",
                math.ceil(wait_s),
            )

    def _soonest(self, checkpoint: CheckpointKey, priority: Priority) -> Worker:
        ready = [worker for worker in self.workers if worker.is_ready]
        if not ready:
            wait_s = min((worker.expected_in_s for worker in self.workers), default=math.inf)
            raise NoWorkerReady(
                "no worker is ready: they are starting, or starting again",
                math.ceil(min(wait_s, 60.0)),
            )
        if len(ready) == 1:
            return ready[0]
        return min(
            ready,
            key=lambda worker: (
                worker.estimate_s(checkpoint, priority),
                len(worker.batcher),
                checkpoint not in worker.residency.residents,
            ),
        )

    def _note_ready(self, name: str, refused: Mapping[CheckpointKey, str]) -> None:
        self._on_refused(name, refused)
        self._changed.set()

    def _hand_over(self, dead: Worker) -> None:
        """Move a dead worker's queue to the others; without a ready one, it stays."""
        if not any(worker.is_ready for worker in self.workers):
            return
        for job in dead.batcher.drain():
            try:
                self.submit(job)
            except ServiceError as error:
                job.fail(error)


def _plan(
    name: str, settings: WorkerSettings, weights_dir: Path, logs: TelemetrySettings
) -> WorkerPlan:
    device = name.split("/", maxsplit=1)[0]
    return WorkerPlan(
        name=name,
        device=device,
        backend=settings.backend,
        threads=settings.worker_threads,
        weights_dir=weights_dir,
        log_level=logs.log_level,
        log_format=logs.log_format,
        max_batch_size=settings.max_batch_size,
        precision=settings.precision,
        cuda_graphs=settings.cuda_graphs,
        lanes=settings.lanes_of(device),
        max_memory_bytes=ceiling_bytes(device, settings.max_memory_bytes),
        heartbeat_s=min(1.0, settings.heartbeat_timeout_ms / 1000 / 10),
    )


def _spare(
    settings: WorkerSettings, weights_dir: Path, logs: TelemetrySettings, metrics: Metrics
) -> Spare | None:
    """Return the spare of all workers on the CPU; None without one."""
    metrics.expect_spare()
    if not settings.has_spare:
        return None
    plan = replace(_plan("cpu", settings, weights_dir, logs), name="spare", is_spare=True)
    return Spare(
        plan,
        _supervision(settings),
        metrics,
        forced=settings.spare == "on",
        budget_bytes=settings.max_model_bytes,
    )


def _queue_limits(settings: WorkerSettings) -> QueueLimits:
    return QueueLimits(
        settings.max_queue_delay_ms / 1000,
        settings.max_queue_size,
        settings.priority_patience_ms / 1000,
    )


def _supervision(settings: WorkerSettings) -> Supervision:
    return Supervision(
        startup_timeout_s=settings.startup_timeout_s,
        batch_timeout_s=settings.batch_timeout_ms / 1000,
        backoff_s=settings.restart_backoff_s,
        max_backoff_s=settings.max_restart_backoff_s,
        stop_grace_s=settings.stop_grace_s,
        heartbeat_timeout_s=settings.heartbeat_timeout_ms / 1000,
        min_batch_timeout_s=settings.min_batch_timeout_ms / 1000,
    )

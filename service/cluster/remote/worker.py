"""The actor of one worker: a `WorkerPool` of one worker, for the services of all nodes.

Its batcher is shared: images of one checkpoint from two services go in one batch. The pool
supervises the process that computes, as on a single machine; Ray supervises the actor.
"""

import asyncio
import math
import os
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import ray
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from service.cluster.measures import Measures, measures_of
from service.cluster.messages import Answered, ClusterJob, ClusterPlan, JobCounts, WorkerReport
from service.errors import CheckpointUnavailable, NoWorkerReady, ServiceError
from service.settings import WorkerSettings
from service.telemetry.logs import configure_logging
from service.telemetry.metrics import Metrics
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import LoadReport, Resident
from service.workers.pool import WorkerPool
from service.workers.protocol import WorkerState


class WorkerActor:
    """One worker of a cluster, as Ray runs it: every method but `__init__` on one event loop.

    It starts its process with `begin`, so that a new actor loads what is placed on it by then.
    """

    def __init__(self, plan: ClusterPlan) -> None:
        # Else each spawned process would run Ray's main module again, which takes seconds.
        sys.modules["__main__"].__file__ = None
        configure_logging(plan.logs.log_level, plan.logs.log_format)
        self._plan = plan
        self._incarnation = uuid.uuid4().hex
        self._node_id = ray.get_runtime_context().get_node_id()
        self._jobs: defaultdict[str, set[Job]] = defaultdict(set)
        self._refused: dict[CheckpointKey, str] = {}
        self._metrics = Metrics(CollectorRegistry())
        self._pool: WorkerPool | None = None

    async def begin(self, wanted: tuple[CheckpointKey, ...]) -> None:
        """Start the process, which loads the wanted checkpoints; only the first call counts."""
        if self._pool is None:
            self._pool = WorkerPool(
                _settings_of_one(self._plan),
                wanted,
                self._metrics,
                self._note_refused,
                weights_dir=self._plan.weights_dir,
                logs=self._plan.logs,
            )
            await self._pool.__aenter__()

    async def inspect(self, service: str, job: ClusterJob) -> Answered:
        """Compute a job of a service. Cancelling drops it."""
        loop = asyncio.get_running_loop()
        queued = Job(
            job.checkpoint,
            job.item,
            job.pixels,
            loop.time() + job.left_s,
            loop.create_future(),
            loop.time(),
            job.priority,
            job.held_bytes,
        )
        self._jobs[service].add(queued)
        try:
            self._started().submit(queued)
            finding = await queued.future
            return Answered(finding, loop.time() - queued.queued_at, queued.queue_ms)
        except ServiceError as error:
            return Answered(error, loop.time() - queued.queued_at)
        finally:
            self._jobs[service].discard(queued)
            if not self._jobs[service]:
                del self._jobs[service]

    async def load(self, key: CheckpointKey) -> LoadReport | ServiceError:
        """Load a checkpoint, again if it is loaded."""
        try:
            (report,) = (await self._started().load(key)).values()
        except ServiceError as error:
            return error
        return report

    async def keep(self, keys: frozenset[CheckpointKey]) -> None:
        """Let these checkpoints make room for others last."""
        if self._pool is not None:
            (worker,) = self._pool.workers
            worker.residency.table.kept = keys

    async def place(self, key: CheckpointKey) -> LoadReport | ServiceError:
        """Load a checkpoint, if it fits beside those that are kept."""
        try:
            (worker,) = self._started().workers
        except ServiceError as error:
            return error
        if not worker.residency.table.fits_beside_kept(key):
            kept = ", ".join(map(str, sorted(worker.residency.table.kept)))
            return CheckpointUnavailable(f"it does not fit beside those that are kept: {kept}")
        return await self.load(key)

    async def unload(self, key: CheckpointKey) -> None:
        """Unload a checkpoint after its jobs."""
        if self._pool is not None:
            await self._pool.unload(key)

    async def report(self) -> WorkerReport:
        """Return the worker's state."""
        if self._pool is None:
            why = "its actor has started, and its process will"
            return WorkerReport(self._incarnation, self._node_id, WorkerState.STARTING, why)
        (worker,) = self._pool.workers
        return WorkerReport(
            self._incarnation,
            self._node_id,
            worker.state,
            worker.reason,
            has_begun=True,
            waiting=len(worker.batcher),
            oldest_s=self._oldest_s(),
            expected_in_s=min(worker.expected_in_s, 3600.0),
            lanes=worker.plan.lanes,
            pid=os.getpid(),
            counts={service: _counts_of(jobs) for service, jobs in self._jobs.items()},
            residents=_with_ages(worker.residents),
            limits={key: worker.prior(key).limit for key in worker.residents},
            refused=dict(self._refused),
        )

    async def measure(self) -> Measures:
        """Return the worker's metrics."""
        return measures_of(self._metrics)

    def _oldest_s(self) -> float:
        waiting = (job for jobs in self._jobs.values() for job in jobs if math.isnan(job.taken_at))
        now = asyncio.get_running_loop().time()
        return max((now - job.queued_at for job in waiting), default=0.0)

    def _started(self) -> WorkerPool:
        if self._pool is None:
            raise NoWorkerReady("the worker's actor has started, and its process will")
        return self._pool

    def _note_refused(self, _: str, refused: Mapping[CheckpointKey, str]) -> None:
        self._refused = dict(refused)


def _counts_of(jobs: Iterable[Job]) -> JobCounts:
    inputs = Counter[tuple[CheckpointKey, Priority]]()
    numbers = Counter[CheckpointKey]()
    for job in jobs:
        inputs[job.checkpoint, job.priority] += job.inputs
        numbers[job.checkpoint] += 1
    return JobCounts(dict(numbers), dict(inputs))


def _with_ages(residents: Mapping[CheckpointKey, Resident]) -> dict[CheckpointKey, Resident]:
    now = asyncio.get_running_loop().time()
    return {
        key: replace(resident, last_used=now - resident.last_used, since=now - resident.since)
        for key, resident in residents.items()
    }


def _settings_of_one(plan: ClusterPlan) -> WorkerSettings:
    """Return the settings of a pool of one worker; another actor takes over, so no spare does."""
    threads = plan.workers.threads_per_worker or plan.cluster.cpus_per_worker
    changes = {"workers_per_device": 1, "threads_per_worker": threads, "spare": "off"}
    return plan.workers.model_copy(update=changes)

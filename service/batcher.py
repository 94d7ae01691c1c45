"""A worker's bounded queue, and how its batches are formed.

Jobs wait in one group per checkpoint, since a batch runs on one network. The group whose first job
has waited longest goes next, and takes every job of that checkpoint that waits, up to
`max_batch_size`. With `max_queue_delay_ms` above 0 a group that is not full is held back until its
first job is that old. A job whose caller has gone, or whose deadline has passed, is never computed.
"""

import asyncio
import math
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import UInt8

from service.channel import (
    BatchRequest,
    CheckpointKey,
    Failure,
    FailureKind,
    Finding,
    Item,
    Outcome,
    Priority,
)
from service.errors import (
    CheckpointUnavailable,
    DeadlineExceeded,
    InspectionFailed,
    NonFiniteResult,
    QueueFull,
    ServiceError,
)
from service.metrics import Metrics

_MEMORY = 0.8
"""How much of the measured time per image a new batch leaves standing."""


@dataclass(eq=False, slots=True)
class Job:
    """One image on its way through a worker; times are those of the event loop's clock."""

    checkpoint: CheckpointKey
    item: Item
    pixels: UInt8[np.ndarray, "3 h w"]
    deadline: float
    future: asyncio.Future[Finding]
    queued_at: float
    priority: Priority = Priority.NORMAL
    taken_at: float = math.nan

    @property
    def queue_ms(self) -> float:
        """How long the job waited for its batch."""
        return (self.taken_at - self.queued_at) * 1000

    def fail(self, error: ServiceError) -> None:
        """Answer with an error, unless the caller has gone."""
        if not self.future.done():
            self.future.set_exception(error)

    def settle(self, outcome: Outcome) -> None:
        """Answer with what the worker says, unless the caller has gone."""
        if isinstance(outcome, Failure):
            self.fail(_error_of(outcome, self))
        elif not self.future.done():
            self.future.set_result(outcome)


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one checkpoint that are computed together; never empty."""

    jobs: tuple[Job, ...]

    def request(self) -> BatchRequest:
        """Return the message for the worker; copies the pixels."""
        return BatchRequest(
            self.jobs[0].checkpoint,
            tuple(job.item for job in self.jobs),
            np.stack([job.pixels for job in self.jobs]),
        )

    def settle(self, outcomes: tuple[Outcome, ...]) -> None:
        """Answer every job; one outcome each, in order."""
        for job, outcome in zip(self.jobs, outcomes, strict=True):
            job.settle(outcome)

    def fail(self, error: ServiceError) -> None:
        """Answer every job with the same error."""
        for job in self.jobs:
            job.fail(error)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large batches and queues may be, and how long a batch may wait to fill."""

    max_batch_size: int
    max_queue_delay_s: float
    max_queue_size: int


class Batcher:
    """The jobs that wait for one worker. Belongs to one event loop and is not thread-safe."""

    def __init__(self, worker: str, limits: BatchLimits, metrics: Metrics) -> None:
        self._worker = worker
        self._limits = limits
        self._metrics = metrics
        # A dict of None is a set that keeps its order: first come first.
        self._groups: dict[CheckpointKey, dict[Job, None]] = {}
        self._arrival = asyncio.Event()
        self._seconds_per_job: float | None = None
        self._depth = 0
        self._metrics.queue_capacity.labels(worker).set(limits.max_queue_size)
        self._count(0)

    def __len__(self) -> int:
        return self._depth

    @property
    def wait_s(self) -> float:
        """How long a new job would wait, by what the latest batches took."""
        return self._depth * (self._seconds_per_job or 0.0)

    def admit(self) -> None:
        """Raise `QueueFull`, with when to try again, if no job would be taken now."""
        if self._depth >= self._limits.max_queue_size:
            raise QueueFull(
                f"{self._depth} images are waiting, and no more are taken", math.ceil(self.wait_s)
            )

    def submit(self, job: Job) -> None:
        """Queue a job; a caller that goes away cancels `job.future`. Raises `QueueFull`."""
        self.admit()
        self._groups.setdefault(job.checkpoint, {})[job] = None
        job.future.add_done_callback(lambda _: self._drop(job))
        self._count(+1)
        self._arrival.set()

    async def next_batch(self) -> Batch:
        """Wait for a batch and take it off the queue; cancelling loses no job."""
        while True:
            self._drop_expired()
            now = asyncio.get_running_loop().time()
            due = {key: self._due(group) for key, group in self._groups.items()}
            ready = [key for key, at in due.items() if at <= now]
            if ready:
                key = min(ready, key=lambda key: _first(self._groups[key]).queued_at)
                return self._take(key, now)
            self._arrival.clear()
            await self._wait(min(due.values(), default=None))

    def record(self, jobs: int, seconds: float) -> None:
        """Remember how long a batch took, for estimates of the wait."""
        latest = seconds / jobs
        known = latest if self._seconds_per_job is None else self._seconds_per_job
        self._seconds_per_job = _MEMORY * known + (1 - _MEMORY) * latest

    def drain(self) -> list[Job]:
        """Take every waiting job off the queue, unanswered; first come first."""
        jobs = [job for group in self._groups.values() for job in group]
        self._groups.clear()
        self._count(-len(jobs))
        return sorted(jobs, key=lambda job: job.queued_at)

    def _due(self, group: dict[Job, None]) -> float:
        """When the group may go: at once if it is full."""
        full = len(group) >= self._limits.max_batch_size
        return _first(group).queued_at + (0.0 if full else self._limits.max_queue_delay_s)

    def _take(self, key: CheckpointKey, now: float) -> Batch:
        group = self._groups[key]
        jobs = tuple(islice(group, self._limits.max_batch_size))
        for job in jobs:
            job.taken_at = now
            self._remove(job)
        self._metrics.batch_size.labels(self._worker).observe(len(jobs))
        return Batch(jobs)

    def _drop_expired(self) -> None:
        now = asyncio.get_running_loop().time()
        for job in [job for group in self._groups.values() for job in group]:
            if job.deadline <= now:
                self._drop(job)
                job.fail(DeadlineExceeded("the deadline passed while the image was waiting"))
            elif job.future.done():  # its callback, which drops it, runs only later
                self._drop(job)

    def _drop(self, job: Job) -> None:
        """Take a job that will not be computed off the queue, if it is still there."""
        if self._remove(job):
            reason = "cancelled" if job.future.done() else "expired"
            self._metrics.dropped.labels(self._worker, reason).inc()

    def _remove(self, job: Job) -> bool:
        group = self._groups.get(job.checkpoint, {})
        if job not in group:
            return False
        del group[job]
        if not group:
            del self._groups[job.checkpoint]
        self._count(-1)
        return True

    def _count(self, change: int) -> None:
        self._depth += change
        self._metrics.queue_depth.labels(self._worker).set(self._depth)

    async def _wait(self, until: float | None) -> None:
        """Wait for a new job, or until a time of the loop's clock."""
        try:
            async with asyncio.timeout_at(until):
                await self._arrival.wait()
        except TimeoutError:
            return


def _first(group: dict[Job, None]) -> Job:
    return next(iter(group))


def _error_of(failure: Failure, job: Job) -> ServiceError:
    if failure.kind is FailureKind.NON_FINITE:
        return NonFiniteResult(
            "the network's answer to this image is not a finite number: the part counts neither "
            "as OK nor as NG"
        )
    if failure.kind is FailureKind.CHECKPOINT:
        return CheckpointUnavailable(f"checkpoint {job.checkpoint} cannot be loaded")
    return InspectionFailed("the network failed on this image: it counts neither as OK nor as NG")

"""A worker's bounded queue, and how its batches are formed.

Jobs wait in one group per checkpoint, since a batch runs on one network; a group is filled while
the device is busy, and goes when it is free. Urgent jobs go first, and then whoever came first.
With `max_queue_delay_ms` above 0 a group that is not full is held back until its oldest job is that
old. A job whose caller has gone, or whose deadline has passed, is never computed.

A worker of several lanes computes as many batches at once: a free one takes its share of what
waits. A batch that is computed alone, by all threads, takes every lane; see `Sharing`.

A group is open while its checkpoint lies on the device. Jobs of others wait aside.
"""

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass
from itertools import chain

from model.checkpoints.key import CheckpointKey
from service.errors import DeadlineExceeded, QueueFull, ServiceError
from service.telemetry.metrics import Metrics
from service.workers.jobs import Batch, Job, Priority
from service.workers.latency import Latencies
from service.workers.pipe.messages import Sharing
from service.workers.waiting import Group


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large queues may be, per checkpoint, and how long jobs may wait.

    `patience_s` is how long a job of normal priority lets later urgent ones go first.
    """

    max_queue_delay_s: float
    max_queue_size: int
    patience_s: float = 1.0


class Batcher:
    """The jobs that wait for one worker. Belongs to one event loop and is not thread-safe."""

    def __init__(
        self,
        worker: str,
        limits: BatchLimits,
        latencies: Latencies,
        metrics: Metrics,
        lanes: int = 1,
    ) -> None:
        self._worker = worker
        self._lanes = lanes
        self._limits = limits
        self._latencies = latencies
        self._metrics = metrics
        self._open: set[CheckpointKey] = set()
        self._groups: dict[CheckpointKey, Group] = {}
        self._aside: dict[CheckpointKey, Group] = {}
        self._running: dict[Batch, float] = {}
        self._changed = asyncio.Event()
        self._left = asyncio.Event()
        self._depth = 0
        self.nbytes = 0
        self._metrics.queue_capacity.labels(worker).set(limits.max_queue_size)
        self._metrics.queue_oldest.labels(worker).set_function(self._oldest_age_s)
        self._metrics.queue_fullness.labels(worker).set_function(self._fullness)
        self._count(0, 0)

    def __len__(self) -> int:
        return self._depth

    @property
    def unopened(self) -> list[CheckpointKey]:
        """The checkpoints that jobs wait for."""
        return list(self._aside)

    def waiting(self, key: CheckpointKey) -> int:
        """How many jobs of a checkpoint wait."""
        return sum(len(groups[key]) for groups in (self._groups, self._aside) if key in groups)

    def is_busy(self, key: CheckpointKey) -> bool:
        """Whether jobs of a checkpoint wait or are being computed."""
        return self.waiting(key) > 0 or self._is_running(key)

    def open(self, key: CheckpointKey) -> None:
        """Let a checkpoint's jobs be computed."""
        self._open.add(key)
        self._move(self._aside, self._groups, key)
        self._changed.set()

    async def close(self, key: CheckpointKey) -> None:
        """Compute what waits of a checkpoint and no more: later jobs wait aside."""
        self._open.discard(key)
        self._changed.set()
        while key in self._groups or self._is_running(key):
            self._left.clear()
            await self._left.wait()

    def close_all(self) -> None:
        """Keep every job until its checkpoint is there again."""
        self._open.clear()
        for key in list(self._groups):
            self._move(self._groups, self._aside, key)
        self._left.set()

    def estimate_s(self, key: CheckpointKey, priority: Priority) -> float:
        """How long a new job would take, by what batches took; 0 where none was measured.

        Jobs of another checkpoint that wait aside hold it up no more than they hold the device.
        """
        aside = {key: self._aside[key]} if key in self._aside else {}
        counts = Counter({key: 1})
        for waiting, group in chain(self._groups.items(), aside.items()):
            counts[waiting] += group.count(priority)
        now = asyncio.get_running_loop().time()
        running = sum(
            max(0.0, self._latencies.seconds(batch.checkpoint, batch.inputs) - (now - since))
            for batch, since in self._running.items()
        )
        work = running + sum(self._latencies.seconds(k, n) for k, n in counts.items())
        return max(work / self._lanes, self._latencies.seconds(key, 1))

    def admit(self, key: CheckpointKey, deadline: float, priority: Priority) -> None:
        """Raise what would keep a job from being taken now: `QueueFull`, or `DeadlineExceeded`."""
        estimate_s = self.estimate_s(key, priority)
        waiting = self.waiting(key)
        if waiting >= self._limits.max_queue_size:
            raise QueueFull(
                f"{waiting} images are waiting for checkpoint {key}, and no more are taken",
                math.ceil(estimate_s),
            )
        left_s = deadline - asyncio.get_running_loop().time()
        # By what is ahead, which is measured as it is computed; by its own time only while that
        # is fresh: else a single slow batch would have every later image refused, and for good.
        own_s = 0.0 if self._latencies.is_fresh(key) else self._latencies.seconds(key, 1)
        if estimate_s - own_s > left_s and self._latencies.line(key) is not None:
            self._metrics.dropped.labels(self._worker, "shed").inc()
            raise DeadlineExceeded(
                f"it would take about {estimate_s:.2g} s by what is waiting, and there are "
                f"{left_s:.2g} s: the image was not taken"
            )

    def submit(self, job: Job) -> None:
        """Queue a job; a caller that goes away cancels `job.future`. Raises as `admit`."""
        self.admit(job.checkpoint, job.deadline, job.priority)
        groups = self._groups if job.checkpoint in self._open else self._aside
        groups.setdefault(job.checkpoint, Group(self._limits.patience_s)).add(job)
        job.future.add_done_callback(lambda _: self._drop(job))
        self._count(+1, job.nbytes)
        self._changed.set()

    async def next_batch(self) -> Batch:
        """Wait for a batch and take it off the queue; cancelling loses no job.

        To be called when a lane is free, or is about to be, by each lane for itself.
        """
        while True:
            self._drop_expired()
            now = asyncio.get_running_loop().time()
            due = {key: self._due(key, group) for key, group in self._groups.items()}
            ready = [key for key, at in due.items() if at <= now]
            if ready:
                key = min(ready, key=lambda key: self._groups[key].rank(now))
                alone = self._goes_alone(key)
                if self._has_lanes(alone=alone):
                    return self._take(key, now, alone=alone)
            self._changed.clear()
            await self._wait(min((at for at in due.values() if at > now), default=None))

    def finish(self, batch: Batch) -> None:
        """Take note that a batch is not being computed any more."""
        self._running.pop(batch, None)
        self._left.set()
        self._changed.set()

    def take_back(self, batch: Batch) -> None:
        """Let jobs wait again that were taken and never begun."""
        for job in reversed(batch.jobs):
            if not job.future.done():
                job.taken_at = math.nan
                groups = self._groups if job.checkpoint in self._open else self._aside
                groups.setdefault(job.checkpoint, Group(self._limits.patience_s)).put_back(job)
                self._count(+1, job.nbytes)
        self._changed.set()

    def drain(self) -> list[Job]:
        """Take every waiting job off the queue, unanswered; first come first."""
        jobs = list(chain(*self._groups.values(), *self._aside.values()))
        for job in jobs:
            self._remove(job)
        return sorted(jobs, key=lambda job: job.queued_at)

    def refuse(self, key: CheckpointKey, error: ServiceError) -> None:
        """Answer every job that waits aside for a checkpoint with an error."""
        for job in list(self._aside.get(key, ())):
            self._remove(job)
            job.fail(error)

    def _is_running(self, key: CheckpointKey) -> bool:
        return any(batch.checkpoint == key for batch in self._running)

    def _move(
        self,
        source: dict[CheckpointKey, Group],
        target: dict[CheckpointKey, Group],
        key: CheckpointKey,
    ) -> None:
        for job in source.pop(key, ()):
            target.setdefault(key, Group(self._limits.patience_s)).add(job)

    def _due(self, key: CheckpointKey, group: Group) -> float:
        """When the group may go: at once if it is full, or its checkpoint is about to leave."""
        full = group.inputs >= self._latencies.limit(key) or key not in self._open
        return group.oldest_at + (0.0 if full else self._limits.max_queue_delay_s)

    def _goes_alone(self, key: CheckpointKey) -> bool:
        """Whether a group's next batch is computed by all threads: see `Sharing`."""
        sharing = self._latencies.sharing.get(key, Sharing.ALWAYS)
        if self._lanes == 1 or sharing is Sharing.ALWAYS:
            return True
        if self._running or self._depth > 1:
            return False
        return sharing is Sharing.IDLE or self._groups[key].inputs > 1

    def _has_lanes(self, *, alone: bool) -> bool:
        """Whether the lanes are free that a batch takes: all, or the one that asks."""
        if self._lanes == 1:
            return True
        return not self._running if alone else not any(one.alone for one in self._running)

    def _take(self, key: CheckpointKey, now: float, *, alone: bool) -> Batch:
        group, limit = self._groups[key], self._latencies.limit(key)
        # Whatever is left goes to the next free lane, so that all lanes end at about one time.
        share = group.inputs if alone else math.ceil(group.inputs / self._lanes)
        jobs = group.first(min(limit, share), now)
        for job in jobs:
            job.taken_at = now
            self._remove(job)
        batch = Batch(jobs, alone)
        reason = "full" if batch.inputs >= limit else self._why_now
        self._metrics.batches_released.labels(self._worker, reason).inc()
        self._metrics.batch_size.labels(self._worker).observe(len(jobs))
        self._running[batch] = now
        return batch

    @property
    def _why_now(self) -> str:
        return "delay" if self._limits.max_queue_delay_s else "idle"

    def _drop_expired(self) -> None:
        now = asyncio.get_running_loop().time()
        for job in list(chain(*self._groups.values(), *self._aside.values())):
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
        for groups in (self._groups, self._aside):
            group = groups.get(job.checkpoint)
            if group is not None and group.remove(job):
                if not len(group):
                    del groups[job.checkpoint]
                self._count(-1, -job.nbytes)
                self._left.set()
                return True
        return False

    def _count(self, change: int, nbytes: int) -> None:
        self._depth += change
        self.nbytes += nbytes
        self._metrics.queue_depth.labels(self._worker).set(self._depth)
        self._metrics.queue_bytes.labels(self._worker).set(self.nbytes)

    def _fullness(self) -> float:
        waiting = (self.waiting(key) for key in {*self._groups, *self._aside})
        return max(waiting, default=0) / self._limits.max_queue_size

    def _oldest_age_s(self) -> float:
        ages = [group.oldest_at for group in chain(self._groups.values(), self._aside.values())]
        return time.monotonic() - min(ages) if ages else 0.0  # the loop's clock, off the loop

    async def _wait(self, until: float | None) -> None:
        """Wait for a change, or until a time of the loop's clock."""
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

"""A worker's bounded queues, one for each checkpoint, and how batches are formed.

A batch has jobs of one checkpoint. Queues fill while the device is busy; when it is free, the jobs
with the highest priority go, the oldest first. With `max_queue_delay_ms` above 0, a queue that does
not fill a batch waits until its oldest job has that age. A job whose caller has gone, or whose
deadline has passed, is never computed.

A worker with several lanes computes as many batches at once: a free lane takes its share of the
queue. A batch that all threads compute (`alone`) needs every lane; see `Sharing`.

A queue is open while its checkpoint is loaded. Jobs in the other queues wait for a load.
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
from service.workers.waiting import CheckpointQueue


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Limits of one checkpoint's queue.

    For `patience_s`, a normal job lets later high-priority ones go first.
    """

    max_queue_delay_s: float
    max_queue_size: int
    patience_s: float = 1.0


class Batcher:
    """The jobs that wait for one worker. Belongs to one event loop and is not thread-safe."""

    def __init__(
        self,
        worker: str,
        limits: QueueLimits,
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
        self._queues: dict[CheckpointKey, CheckpointQueue] = {}
        self._unopened: dict[CheckpointKey, CheckpointQueue] = {}
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
        """The checkpoints that are not loaded and that jobs wait for."""
        return list(self._unopened)

    def waiting(self, key: CheckpointKey) -> int:
        """Return the number of waiting jobs of a checkpoint."""
        return sum(len(queues[key]) for queues in (self._queues, self._unopened) if key in queues)

    def is_busy(self, key: CheckpointKey) -> bool:
        """Whether jobs of a checkpoint wait or are being computed."""
        return self.waiting(key) > 0 or self._is_running(key)

    def open(self, key: CheckpointKey) -> None:
        """Start computing a checkpoint's jobs."""
        self._open.add(key)
        self._move(self._unopened, self._queues, key)
        self._changed.set()

    async def close(self, key: CheckpointKey) -> None:
        """Stop computing a checkpoint's jobs after those that wait now; waits for them."""
        self._open.discard(key)
        self._changed.set()
        while key in self._queues or self._is_running(key):
            self._left.clear()
            await self._left.wait()

    def close_all(self) -> None:
        """Stop computing all jobs; they wait until their checkpoints are loaded again."""
        self._open.clear()
        for key in list(self._queues):
            self._move(self._queues, self._unopened, key)
        self._left.set()

    def estimate_s(self, key: CheckpointKey, priority: Priority) -> float:
        """Return the expected seconds of a new job; 0 if no batch was measured yet.

        Jobs of other checkpoints that wait for a load are not counted.
        """
        unopened = {key: self._unopened[key]} if key in self._unopened else {}
        counts = Counter({key: 1})
        for checkpoint, queue in chain(self._queues.items(), unopened.items()):
            counts[checkpoint] += queue.count(priority)
        now = asyncio.get_running_loop().time()
        running = sum(
            max(0.0, self._latencies.seconds(batch.checkpoint, batch.inputs) - (now - since))
            for batch, since in self._running.items()
        )
        work = running + sum(self._latencies.seconds(k, n) for k, n in counts.items())
        return max(work / self._lanes, self._latencies.seconds(key, 1))

    def admit(self, key: CheckpointKey, deadline: float, priority: Priority) -> None:
        """Raise `QueueFull` or `DeadlineExceeded` if a new job would be refused now."""
        estimate_s = self.estimate_s(key, priority)
        waiting = self.waiting(key)
        if waiting * (2 if priority is Priority.LOW else 1) >= self._limits.max_queue_size:
            raise QueueFull(
                f"{waiting} images are waiting for checkpoint {key}, the most allowed",
                math.ceil(estimate_s),
            )
        left_s = deadline - asyncio.get_running_loop().time()
        # An old time of a lone image does not count: after one slow batch, nothing would be
        # computed any more that could correct it. Jobs ahead always count; they are measured.
        image_s = 0.0 if self._latencies.is_fresh(key) else self._latencies.seconds(key, 1)
        if estimate_s - image_s > left_s and self._latencies.line(key) is not None:
            self._metrics.dropped.labels(self._worker, "shed").inc()
            raise DeadlineExceeded(
                f"the image would be answered in about {estimate_s:.2g} s, behind those that wait, "
                f"but its deadline is in {left_s:.2g} s: it was refused"
            )

    def submit(self, job: Job) -> None:
        """Queue a job; cancelling `job.future` drops it. Raises as `admit`."""
        self.admit(job.checkpoint, job.deadline, job.priority)
        queues = self._queues if job.checkpoint in self._open else self._unopened
        queues.setdefault(job.checkpoint, CheckpointQueue(self._limits.patience_s)).add(job)
        job.future.add_done_callback(lambda _: self._drop(job))
        self._count(+1, job.nbytes)
        self._changed.set()

    async def next_batch(self) -> Batch:
        """Wait for a batch and take it off its queue; cancelling loses no job.

        Each lane calls this when it is free, or is about to be.
        """
        while True:
            self._drop_expired()
            now = asyncio.get_running_loop().time()
            due = {key: self._due(key, queue) for key, queue in self._queues.items()}
            ready = [key for key, at in due.items() if at <= now]
            if ready:
                key = min(ready, key=lambda key: self._queues[key].rank(now))
                alone = self._goes_alone(key)
                if self._has_lanes(alone=alone):
                    return self._take(key, now, alone=alone)
            self._changed.clear()
            await self._wait(min((at for at in due.values() if at > now), default=None))

    def finish(self, batch: Batch) -> None:
        """Record that a batch has ended, and so frees its lanes."""
        self._running.pop(batch, None)
        self._left.set()
        self._changed.set()

    def take_back(self, batch: Batch) -> None:
        """Put the jobs of a batch that was never begun back at the head of their queue."""
        for job in reversed(batch.jobs):
            if not job.future.done():
                job.taken_at = math.nan
                queues = self._queues if job.checkpoint in self._open else self._unopened
                queue = queues.setdefault(job.checkpoint, CheckpointQueue(self._limits.patience_s))
                queue.put_back(job)
                self._count(+1, job.nbytes)
        self._changed.set()

    def drain(self) -> list[Job]:
        """Remove and return all waiting jobs, oldest first."""
        jobs = list(chain(*self._queues.values(), *self._unopened.values()))
        for job in jobs:
            self._remove(job)
        return sorted(jobs, key=lambda job: job.queued_at)

    def refuse(self, key: CheckpointKey, error: ServiceError) -> None:
        """Fail every job that waits for a checkpoint to be loaded."""
        for job in list(self._unopened.get(key, ())):
            self._remove(job)
            job.fail(error)

    def _is_running(self, key: CheckpointKey) -> bool:
        return any(batch.checkpoint == key for batch in self._running)

    def _move(
        self,
        source: dict[CheckpointKey, CheckpointQueue],
        target: dict[CheckpointKey, CheckpointQueue],
        key: CheckpointKey,
    ) -> None:
        for job in source.pop(key, ()):
            target.setdefault(key, CheckpointQueue(self._limits.patience_s)).add(job)

    def _due(self, key: CheckpointKey, queue: CheckpointQueue) -> float:
        """Return when a batch may go: at once if it is full, or its checkpoint is unloading."""
        full = queue.inputs >= self._latencies.limit(key) or key not in self._open
        return queue.oldest_at + (0.0 if full else self._limits.max_queue_delay_s)

    def _goes_alone(self, key: CheckpointKey) -> bool:
        """Whether all threads compute the checkpoint's next batch; see `Sharing`."""
        sharing = self._latencies.sharing.get(key, Sharing.ALWAYS)
        if self._lanes == 1 or sharing is Sharing.ALWAYS:
            return True
        if self._running or sum(queue.on_the_line for queue in self._queues.values()) > 1:
            return False
        return sharing is Sharing.IDLE or self._queues[key].inputs > 1

    def _has_lanes(self, *, alone: bool) -> bool:
        """Whether a batch has the lanes that it needs: all of them if `alone`, else one."""
        if self._lanes == 1:
            return True
        return not self._running if alone else not any(batch.alone for batch in self._running)

    def _take(self, key: CheckpointKey, now: float, *, alone: bool) -> Batch:
        queue, limit = self._queues[key], self._latencies.limit(key)
        # Leave a share for each other lane, so that all lanes end at about the same time.
        share = queue.inputs if alone else math.ceil(queue.inputs / self._lanes)
        jobs = queue.first(min(limit, share), now)
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
        for job in list(chain(*self._queues.values(), *self._unopened.values())):
            if job.deadline <= now:
                self._drop(job)
                job.fail(DeadlineExceeded("the deadline passed while the image was waiting"))
            elif job.future.done():  # cancelled, but its callback has not run yet
                self._drop(job)

    def _drop(self, job: Job) -> None:
        """Remove a job that will not be computed, if it still waits."""
        if self._remove(job):
            reason = "cancelled" if job.future.done() else "expired"
            self._metrics.dropped.labels(self._worker, reason).inc()

    def _remove(self, job: Job) -> bool:
        for queues in (self._queues, self._unopened):
            queue = queues.get(job.checkpoint)
            if queue is not None and queue.remove(job):
                if not len(queue):
                    del queues[job.checkpoint]
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
        waiting = (self.waiting(key) for key in {*self._queues, *self._unopened})
        return max(waiting, default=0) / self._limits.max_queue_size

    def _oldest_age_s(self) -> float:
        queues = [*self._queues.values(), *self._unopened.values()]
        # `time.monotonic` is the event loop's clock, which this thread cannot ask.
        return time.monotonic() - min(q.oldest_at for q in queues) if queues else 0.0

    async def _wait(self, until: float | None) -> None:
        """Wait for a change, or until a time of the loop's clock."""
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

"""The waiting jobs of one checkpoint, high priority first, without starving the others."""

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from service.workers.jobs import Job, Priority


class Rank(NamedTuple):
    """The order of waiting jobs; the smallest rank goes first."""

    behind: int
    queued_at: float


class CheckpointQueue:
    """Jobs of one checkpoint by priority, in order of arrival.

    A normal job that has waited for `patience_s` goes before high-priority jobs that arrived later.
    A low one goes only while no other waits.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        # A dict of None is an ordered set.
        self._jobs: dict[Priority, dict[Job, None]] = {priority: {} for priority in Priority}

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._jobs.values())

    def __iter__(self) -> Iterator[Job]:
        for jobs in self._jobs.values():
            yield from jobs

    def add(self, job: Job) -> None:
        """Append a job to those of its priority."""
        self._jobs[job.priority][job] = None

    def put_back(self, job: Job) -> None:
        """Insert a job before those of its priority."""
        self._jobs[job.priority] = {job: None, **self._jobs[job.priority]}

    def remove(self, job: Job) -> bool:
        """Remove a job; returns False if it is not in the queue."""
        jobs = self._jobs[job.priority]
        if job not in jobs:
            return False
        del jobs[job]
        return True

    def count(self, priority: Priority) -> int:
        """Return the number of inputs ahead of a new job of this priority."""
        ahead = (jobs for kind, jobs in self._jobs.items() if kind <= priority)
        return sum(job.inputs for jobs in ahead for job in jobs)

    @property
    def on_the_line(self) -> int:
        """The number of jobs that are not low."""
        return len(self) - len(self._jobs[Priority.LOW])

    @property
    def inputs(self) -> int:
        """The network inputs of all jobs that one batch could have; a low job goes alone."""
        line = self.count(Priority.NORMAL)
        return line or next((job.inputs for job in self), 0)

    @property
    def oldest_at(self) -> float:
        """The arrival of the oldest job; the queue must not be empty."""
        return min(job.queued_at for job in self._heads())

    def rank(self, now: float) -> Rank:
        """Return the rank of the next job; the queue must not be empty."""
        return min(self._rank(job, now) for job in self._heads())

    def first(self, inputs: int, now: float) -> tuple[Job, ...]:
        """Return the next jobs, together at most so many inputs, or a single larger job.

        A low job goes alone, so that a part on the line waits for one such image at most.
        """
        ordered = sorted(self, key=lambda job: self._rank(job, now))
        if ordered[0].priority is Priority.LOW:
            return (ordered[0],)
        ordered = [job for job in ordered if job.priority is not Priority.LOW]
        sums = accumulate(job.inputs for job in ordered)
        within = sum(total <= inputs for total in sums)
        return tuple(ordered[: max(1, within)])

    def _heads(self) -> list[Job]:
        return [next(iter(jobs)) for jobs in self._jobs.values() if jobs]

    def _rank(self, job: Job, now: float) -> Rank:
        if job.priority is Priority.LOW:
            return Rank(2, job.queued_at)
        patient = job.priority is not Priority.HIGH and now - job.queued_at < self._patience_s
        return Rank(int(patient), job.queued_at)

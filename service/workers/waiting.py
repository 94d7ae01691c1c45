"""The waiting jobs of one checkpoint, urgent ones first, and none forgotten."""

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from service.workers.jobs import Job, Priority


class Rank(NamedTuple):
    """Where a job stands among all that wait; the smallest goes first."""

    waits: bool
    queued_at: float


class Group:
    """Jobs of one checkpoint by priority, in order of arrival.

    A job of normal priority that has waited for `patience_s` goes before urgent ones that came
    later: however many of those there are, it is never left behind.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        # A dict of None is a set that keeps its order: first come first.
        self._lanes: dict[Priority, dict[Job, None]] = {priority: {} for priority in Priority}

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def __iter__(self) -> Iterator[Job]:
        for lane in self._lanes.values():
            yield from lane

    def add(self, job: Job) -> None:
        """Put a job behind those of its priority."""
        self._lanes[job.priority][job] = None

    def put_back(self, job: Job) -> None:
        """Put a job before those of its priority."""
        self._lanes[job.priority] = {job: None, **self._lanes[job.priority]}

    def remove(self, job: Job) -> bool:
        """Take a job out; False when it is not here."""
        lane = self._lanes[job.priority]
        if job not in lane:
            return False
        del lane[job]
        return True

    def count(self, priority: Priority) -> int:
        """How many inputs go at least as soon as a new job of this priority."""
        ahead = (lane for kind, lane in self._lanes.items() if kind <= priority)
        return sum(job.inputs for lane in ahead for job in lane)

    @property
    def inputs(self) -> int:
        """How many inputs of the network all jobs are together."""
        return sum(job.inputs for job in self)

    @property
    def oldest_at(self) -> float:
        """When the job that has waited longest came; the group must not be empty."""
        return min(job.queued_at for job in self._heads())

    def rank(self, now: float) -> Rank:
        """Return the rank of the job that goes first; the group must not be empty."""
        return min(self._rank(job, now) for job in self._heads())

    def first(self, inputs: int, now: float) -> tuple[Job, ...]:
        """Return the jobs that go next: of at most so many inputs, or a single one of more."""
        ordered = sorted(self, key=lambda job: self._rank(job, now))
        sums = accumulate(job.inputs for job in ordered)
        within = sum(total <= inputs for total in sums)
        return tuple(ordered[: max(1, within)])

    def _heads(self) -> list[Job]:
        return [next(iter(lane)) for lane in self._lanes.values() if lane]

    def _rank(self, job: Job, now: float) -> Rank:
        patient = job.priority is not Priority.HIGH and now - job.queued_at < self._patience_s
        return Rank(patient, job.queued_at)

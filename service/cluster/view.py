"""A service's view of one worker of the cluster: its latest report, and the jobs sent since.

Counting is exact for this service's own jobs, and as old as the report for those of others.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from model.checkpoints.key import CheckpointKey
from service.cluster.measures import Measures
from service.cluster.messages import JobCounts, WorkerReport
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import Resident
from service.workers.protocol import WorkerState, WorkerStatus

NO_REPORT = "no report of its actor yet: Ray has no room for it, or starts it"


class WorkerView:
    """One worker as a service sees it; `now` is the event loop's time."""

    def __init__(self, name: str, service: str, now: float) -> None:
        self.name = name
        self._service = service
        self._report: WorkerReport | None = None
        self._reported_at = now
        self._problem = NO_REPORT
        self._residents: dict[CheckpointKey, Resident] = {}
        self._others = JobCounts()
        self.jobs: set[Job] = set()
        self.measures: Measures = ()
        self.node = ""
        self.is_leaving = False

    @property
    def state(self) -> WorkerState:
        """The worker's state; restarting while its actor is lost."""
        if self._problem:
            return WorkerState.RESTARTING if self._report else WorkerState.STARTING
        assert self._report is not None
        return self._report.state

    @property
    def is_ready(self) -> bool:
        """Whether it takes jobs."""
        return self.state is WorkerState.READY

    @property
    def problem(self) -> str:
        """Why its actor cannot be asked now; empty if it can."""
        return self._problem

    @property
    def report(self) -> WorkerReport | None:
        """The latest report; None before the first."""
        return self._report

    @property
    def residents(self) -> Mapping[CheckpointKey, Resident]:
        """The loaded checkpoints, with times of this process's event loop; none if not ready."""
        return self._residents if self.is_ready else {}

    @property
    def status(self) -> WorkerStatus:
        """The worker's state, for readiness and operators."""
        reason = self._problem or (self._report.reason if self._report else "")
        if self.is_leaving and self.is_ready:
            reason = "its Ray node is drained: other workers get the images"
        waiting = self._report.waiting if self._report else 0
        return WorkerStatus(self.name, self.state, reason, waiting, self.node)

    @property
    def expected_in_s(self) -> float:
        """The expected seconds until it is ready."""
        return self._report.expected_in_s if self._report and not self._problem else 10.0

    def note(self, report: WorkerReport, now: float) -> bool:
        """Take a report; return whether the worker is ready and was not, or is another process."""
        was_ready, before = self.is_ready, self._report
        self._report, self._reported_at, self._problem = report, now, ""
        self._residents = {
            key: replace(resident, last_used=now - resident.last_used, since=now - resident.since)
            for key, resident in report.residents.items()
        }
        self._others = _sum_of(
            counts for service, counts in report.counts.items() if service != self._service
        )
        is_another = before is None or before.incarnation != report.incarnation
        if before is not None and before.node_id != report.node_id:
            self.measures = ()  # another node's service shows them
        return self.is_ready and (is_another or not was_ready)

    def note_loss(self, reason: str) -> None:
        """Note that its actor does not answer."""
        self._problem = reason

    def is_silent(self, now: float, silence_s: float) -> bool:
        """Whether its last report is too old to go on waiting for it."""
        return self._report is not None and now - self._reported_at > silence_s

    def count(self, key: CheckpointKey) -> int:
        """Return the number of a checkpoint's unanswered jobs."""
        own = sum(job.checkpoint == key for job in self.jobs)
        return own + self._others.jobs.get(key, 0)

    @property
    def total(self) -> int:
        """The number of all unanswered jobs."""
        return len(self.jobs) + sum(self._others.jobs.values())

    def batch_size(self, key: CheckpointKey) -> int:
        """Return how many images of a checkpoint it computes at once."""
        report = self._report
        return max(1, report.limits.get(key, 1)) * report.lanes if report else 1

    def estimate_s(self, key: CheckpointKey, priority: Priority) -> float:
        """Return the expected seconds of a new job; 0 if no batch was measured yet."""
        counts = Counter({key: 1})
        for job in self.jobs:
            if job.priority <= priority:
                counts[job.checkpoint] += job.inputs
        for (checkpoint, kind), inputs in self._others.inputs.items():
            if kind <= priority:
                counts[checkpoint] += inputs
        lanes = self._report.lanes if self._report else 1
        work = sum(self.seconds(checkpoint, inputs) for checkpoint, inputs in counts.items())
        return max(work / lanes, self.seconds(key, 1))

    @property
    def load_s(self) -> float:
        """The seconds of its slowest load; 0 before the first."""
        return max((resident.loaded_s for resident in self._residents.values()), default=0.0)

    def seconds(self, key: CheckpointKey, inputs: int) -> float:
        """Return the expected seconds of so many inputs; 0 if unknown."""
        resident = self._residents.get(key)
        if resident is None or resident.latency_line is None or self._report is None:
            return 0.0
        batches = -(-inputs // max(1, self._report.limits.get(key, 1)))
        line = resident.latency_line
        return line.a_s * inputs + line.b_s * batches


def _sum_of(counts: Iterable[JobCounts]) -> JobCounts:
    jobs, inputs = Counter[CheckpointKey](), Counter[tuple[CheckpointKey, Priority]]()
    for one in counts:
        jobs.update(one.jobs)
        inputs.update(one.inputs)
    return JobCounts(jobs, inputs)

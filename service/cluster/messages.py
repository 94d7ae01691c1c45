"""Messages among a service, its bridge process and the actors; times are durations.

Clocks differ between machines, so a deadline crosses as the time that is left.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from model.checkpoints.key import CheckpointKey
from service.cluster.measures import Measures
from service.errors import ServiceError
from service.settings import ClusterSettings, TelemetrySettings, WorkerSettings
from service.workers.jobs import Priority
from service.workers.pipe.messages import Finding, Item, LoadReport, Resident
from service.workers.protocol import WorkerState


class CannotJoin(Exception):
    """The cluster cannot be joined; the message says why."""


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """The settings of all workers of a cluster.

    Services with different plans have different managers and workers; `name` tells them apart.
    """

    name: str
    cluster: ClusterSettings
    workers: WorkerSettings
    weights_dir: Path
    logs: TelemetrySettings


@dataclass(frozen=True, slots=True)
class Presence:
    """A service that uses the cluster, its node, and the checkpoints that it serves."""

    service: str
    node_name: str
    wanted: tuple[CheckpointKey, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A job on its way to an actor."""

    checkpoint: CheckpointKey
    item: Item
    pixels: UInt8[np.ndarray, "n 3 h w"]
    left_s: float
    priority: Priority
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Answered:
    """An actor's answer to a job, which was there for `inside_s`: a finding, or the error."""

    outcome: Finding | ServiceError
    inside_s: float
    queue_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Unreachable:
    """An actor did not answer: its process or its node has died, or cannot be reached.

    `is_final` if Ray will not start it again.
    """

    reason: str
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Unanswered jobs: their number by checkpoint, their inputs by checkpoint and priority."""

    jobs: Mapping[CheckpointKey, int] = field(default_factory=dict)
    inputs: Mapping[tuple[CheckpointKey, Priority], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The state of an actor's worker; a restarted actor is another `incarnation`.

    `counts` are the jobs by the service that they came from; the oldest that is not computed yet
    has waited `oldest_s`. The times of `residents` are ages.
    """

    incarnation: str
    node_id: str
    state: WorkerState
    reason: str
    has_begun: bool = False
    waiting: int = 0
    oldest_s: float = 0.0
    expected_in_s: float = 0.0
    lanes: int = 1
    pid: int | None = None
    counts: Mapping[str, JobCounts] = field(default_factory=dict)
    residents: Mapping[CheckpointKey, Resident] = field(default_factory=dict)
    limits: Mapping[CheckpointKey, int] = field(default_factory=dict)
    refused: Mapping[CheckpointKey, str] = field(default_factory=dict)

    @property
    def jobs(self) -> int:
        """The number of unanswered jobs."""
        return sum(sum(counts.jobs.values()) for counts in self.counts.values())


@dataclass(frozen=True, slots=True)
class Roster:
    """The workers that there should be, and the names of the nodes that have a service.

    Those that are `leaving` get images only if no other worker is ready. `problem` says why the Ray
    head or the manager cannot be asked now.
    """

    workers: tuple[str, ...] = ()
    node_names: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    leaving: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hello:
    """The service's first message to its bridge."""

    plan: ClusterPlan
    presence: Presence


@dataclass(frozen=True, slots=True)
class Connected:
    """The bridge has joined the cluster."""


@dataclass(frozen=True, slots=True)
class Parted:
    """The bridge ends, because it cannot join the cluster or has lost it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Inspect:
    """Compute a job on a worker; the answer is `Replied` with `Answered` or `Unreachable`."""

    id: int
    worker: str
    job: ClusterJob


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop the job of an earlier `Inspect`; not answered."""

    id: int


@dataclass(frozen=True, slots=True)
class LoadEverywhere:
    """Load a checkpoint; the answer is `Replied` with reports by worker, or an error."""

    id: int
    checkpoint: CheckpointKey


@dataclass(frozen=True, slots=True)
class UnloadEverywhere:
    """Unload a checkpoint; the answer is `Replied` with None, or an error."""

    id: int
    checkpoint: CheckpointKey


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer to the request with this id."""

    id: int
    result: Answered | Unreachable | Mapping[str, LoadReport] | ServiceError | None


@dataclass(frozen=True, slots=True)
class Reported:
    """A worker's report; None if it did not answer."""

    worker: str
    report: WorkerReport | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics of a worker on the service's own node."""

    worker: str
    measures: Measures


ToBridge: TypeAlias = Hello | Presence | Inspect | Cancel | LoadEverywhere | UnloadEverywhere
FromBridge: TypeAlias = Connected | Parted | Replied | Reported | Measured | Roster

"""What an inspection asks of those who compute, be they processes here or replicas elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from model.checkpoints.key import CheckpointKey
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import LoadReport, Resident


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """How a worker is, why, and how many images wait for it."""

    name: str
    state: WorkerState
    reason: str
    waiting: int


class Workers(Protocol):
    """The workers of one service, asked from one event loop: `WorkerPool`."""

    def admit(
        self, checkpoint: CheckpointKey, deadline: float, priority: Priority, nbytes: int
    ) -> None:
        """Raise what would keep a job from being taken now, before anything is spent on it.

        `nbytes` is what it will keep in memory. Raises `Unavailable`, with when to try again, or
        `DeadlineExceeded` where it would be late by what batches take.
        """

    def submit(self, job: Job) -> None:
        """Queue a job where it will be computed soonest. Raises as `admit`."""

    async def load(self, key: CheckpointKey) -> dict[str, LoadReport]:
        """Bring a checkpoint onto every worker's device, verified and warm, while others serve.

        Returns a report for each worker's name. Raises `CheckpointUnavailable` with the reason;
        then no worker keeps what it did not have before.
        """

    async def unload(self, key: CheckpointKey) -> None:
        """Free a checkpoint on every worker, once its queued and running jobs are done."""

    def residents(self) -> Mapping[str, Mapping[CheckpointKey, Resident]]:
        """Return what lies on each worker's device; nothing of one that is starting."""

    def status(self) -> Sequence[WorkerStatus]:
        """Return how each worker is."""

    async def wait_change(self) -> None:
        """Wait until a worker becomes ready that was not."""

"""The Protocol of a pool of workers: processes on this machine, or replicas elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from model.checkpoints.key import CheckpointKey
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import LoadReport, Resident


class WorkerState(StrEnum):
    """The state of a worker."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker's state, the reason for it, and the number of images that wait.

    `node` names the machine of a cluster's worker.
    """

    name: str
    state: WorkerState
    reason: str
    waiting: int
    node: str | None = None


class SpareState(StrEnum):
    """The state of the worker process that waits to take over."""

    OFF = "off"
    WAITING = "waiting"
    NO_MEMORY = "no-memory"
    PREPARING = "preparing"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class SpareStatus:
    """The spare's state, and the reason for it."""

    state: SpareState
    reason: str


class Workers(Protocol):
    """The workers of one service, used from one event loop; see `WorkerPool`."""

    def admit(
        self, checkpoint: CheckpointKey, deadline: float, priority: Priority, nbytes: int
    ) -> None:
        """Raise the error that `submit` would raise, before any work is done.

        `nbytes` is the memory of the job. Raises `Unavailable`, with the time of a retry, or
        `DeadlineExceeded` if measured times predict that the job would be late.
        """

    def submit(self, job: Job) -> None:
        """Queue a job at the worker that can compute it soonest. Raises as `admit`."""

    async def load(self, key: CheckpointKey) -> dict[str, LoadReport]:
        """Load a checkpoint on every worker, verified and warm, while others serve.

        Returns a report by worker name. Raises `CheckpointUnavailable` if any worker fails; then
        workers that did not have the checkpoint before unload it.
        """

    async def unload(self, key: CheckpointKey) -> None:
        """Unload a checkpoint on every worker, once its queued and running jobs are done."""

    def residents(self) -> Mapping[str, Mapping[CheckpointKey, Resident]]:
        """Return the loaded checkpoints by worker name; none for a worker that is starting."""

    def holds(self, key: CheckpointKey) -> bool:
        """Whether every worker that should have a checkpoint has loaded it."""

    def status(self) -> Sequence[WorkerStatus]:
        """Return the state of each worker."""

    def unready(self) -> Sequence[WorkerStatus]:
        """Return the workers without which the service is not ready, as long as they are not."""

    def spare(self) -> SpareStatus:
        """Return the state of the process that waits to take over from a worker."""

    async def wait_change(self) -> None:
        """Wait until another worker becomes ready."""

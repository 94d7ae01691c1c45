"""Jobs (one image each), and batches of jobs."""

import asyncio
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import UInt8

from model.checkpoints.key import CheckpointKey
from service.errors import (
    CheckpointUnavailable,
    InspectionFailed,
    NonFiniteResult,
    ServiceError,
)
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import BatchRequest, Failure, FailureKind, Finding, Item, Outcome


class Priority(IntEnum):
    """High goes before normal, until a normal job has waited for `priority_patience_ms`.

    LOW is for parts that the line does not wait for. Such a job is computed alone, only while no
    other waits, and takes at most half of the queue.
    """

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(eq=False, slots=True)
class Job:
    """One image for a worker; times are those of the event loop's clock.

    `pixels` are the network's inputs: one, or several if the image is tiled. `held_bytes` is the
    memory that the request needs besides the pixels until its answer.
    """

    checkpoint: CheckpointKey
    item: Item
    pixels: UInt8[np.ndarray, "n 3 h w"]
    deadline: float
    future: asyncio.Future[Finding]
    queued_at: float
    priority: Priority = Priority.NORMAL
    held_bytes: int = 0
    taken_at: float = math.nan

    @property
    def queue_ms(self) -> float:
        """The milliseconds that the job waited for its batch."""
        return (self.taken_at - self.queued_at) * 1000

    @property
    def nbytes(self) -> int:
        """The memory of the job while it waits."""
        return self.pixels.nbytes + self.held_bytes

    @property
    def inputs(self) -> int:
        """The number of network inputs."""
        return len(self.pixels)

    def fail(self, error: ServiceError) -> None:
        """Fail the job, unless its caller has cancelled it."""
        if not self.future.done():
            self.future.set_exception(error)

    def settle(self, outcome: Outcome) -> None:
        """Complete the job with the worker's outcome, unless its caller has cancelled it."""
        if isinstance(outcome, Failure):
            self.fail(_error_of(outcome, self))
        elif not self.future.done():
            self.future.set_result(outcome)


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one checkpoint that are computed together; never empty.

    A batch that is `alone` gets all threads of its worker, any other one lane.
    """

    jobs: tuple[Job, ...]
    alone: bool = True

    @property
    def checkpoint(self) -> CheckpointKey:
        """The checkpoint that computes it."""
        return self.jobs[0].checkpoint

    @property
    def inputs(self) -> int:
        """The number of network inputs."""
        return sum(job.inputs for job in self.jobs)

    def request(self, number: int, block: int = 0) -> BatchRequest:
        """Return the message for the worker; `block` is the index of the block for `write`."""
        height, width = self.jobs[0].pixels.shape[2:]
        items = tuple(job.item for job in self.jobs)
        return BatchRequest(number, self.checkpoint, items, (height, width), block, self.alone)

    def write(self, request: BatchRequest, block: SharedBlock) -> None:
        """Copy the pixels into the shared block. Raises `OSError` if there is no memory."""
        block.reserve(request.nbytes)
        pixels = block.array(request.pixels_shape, np.uint8)
        np.concatenate([job.pixels for job in self.jobs], out=pixels)

    def settle(self, outcomes: tuple[Outcome, ...], waited_s: float = 0.0) -> None:
        """Complete every job with its outcome; `waited_s` in the process counts as queue time."""
        for job, outcome in zip(self.jobs, outcomes, strict=True):
            job.taken_at += waited_s
            job.settle(outcome)

    def fail(self, error: ServiceError) -> None:
        """Fail every job with the same error."""
        for job in self.jobs:
            job.fail(error)


def _error_of(failure: Failure, job: Job) -> ServiceError:
    if failure.kind is FailureKind.NON_FINITE:
        return NonFiniteResult(
            "the network returned NaN or infinity for this image: the part counts neither as OK "
            "nor as NG"
        )
    if failure.kind is FailureKind.CHECKPOINT:
        return CheckpointUnavailable(f"checkpoint {job.checkpoint} cannot be loaded")
    return InspectionFailed("the network failed on this image: it counts neither as OK nor as NG")

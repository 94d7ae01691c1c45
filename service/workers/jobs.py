"""One image on its way through a worker, and the batch it travels in."""

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
    """Which images go first; one that waits long enough goes before any that came later."""

    HIGH = 0
    NORMAL = 1


@dataclass(eq=False, slots=True)
class Job:
    """One image on its way through a worker; times are those of the event loop's clock.

    `pixels` are its inputs of the network: one, or several where it is tiled.
    `held_bytes` is what its request keeps in memory beside the pixels until the answer.
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
        """How long the job waited for its batch."""
        return (self.taken_at - self.queued_at) * 1000

    @property
    def nbytes(self) -> int:
        """What the job keeps in memory while it waits."""
        return self.pixels.nbytes + self.held_bytes

    @property
    def inputs(self) -> int:
        """How many inputs of the network it is."""
        return len(self.pixels)

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
    """Jobs of one checkpoint that are computed together; never empty.

    One that is not `alone` takes one lane of its worker, and others are computed beside it.
    """

    jobs: tuple[Job, ...]
    alone: bool = True

    @property
    def checkpoint(self) -> CheckpointKey:
        """The checkpoint that computes it."""
        return self.jobs[0].checkpoint

    @property
    def inputs(self) -> int:
        """How many inputs of the network it is made of."""
        return sum(job.inputs for job in self.jobs)

    def request(self, number: int, block: int = 0) -> BatchRequest:
        """Return the message for the worker; `block` is the one that `write` will be given."""
        height, width = self.jobs[0].pixels.shape[2:]
        items = tuple(job.item for job in self.jobs)
        return BatchRequest(number, self.checkpoint, items, (height, width), block, self.alone)

    def write(self, request: BatchRequest, block: SharedBlock) -> None:
        """Copy the pixels to where the worker looks for them. Raises `OSError` without memory."""
        block.reserve(request.nbytes)
        pixels = block.array(request.pixels_shape, np.uint8)
        np.concatenate([job.pixels for job in self.jobs], out=pixels)

    def settle(self, outcomes: tuple[Outcome, ...], waited_s: float = 0.0) -> None:
        """Answer every job; one outcome each, in order. What they waited in the process counts."""
        for job, outcome in zip(self.jobs, outcomes, strict=True):
            job.taken_at += waited_s
            job.settle(outcome)

    def fail(self, error: ServiceError) -> None:
        """Answer every job with the same error."""
        for job in self.jobs:
            job.fail(error)


def _error_of(failure: Failure, job: Job) -> ServiceError:
    if failure.kind is FailureKind.NON_FINITE:
        return NonFiniteResult(
            "the network's answer to this image is not a finite number: the part counts neither "
            "as OK nor as NG"
        )
    if failure.kind is FailureKind.CHECKPOINT:
        return CheckpointUnavailable(f"checkpoint {job.checkpoint} cannot be loaded")
    return InspectionFailed("the network failed on this image: it counts neither as OK nor as NG")

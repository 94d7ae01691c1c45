"""What the service and its workers say to each other, over one pipe per worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from model.calibration import Calibration
from model.inspection import Category, Decision, ImageSize, Region


@dataclass(frozen=True, slots=True, order=True)
class CheckpointKey:
    """The name and version under which a checkpoint lies in the store."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """All that a worker is told when it is spawned."""

    name: str
    device: str
    backend: str
    threads: int
    weights_dir: Path
    checkpoints: tuple[CheckpointKey, ...]
    log_level: str
    log_format: str = "json"


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message: it is warm, but for the checkpoints that it could not load."""

    pid: int
    refused: Mapping[CheckpointKey, str]


@dataclass(frozen=True, slots=True)
class CannotStart:
    """A worker's only message, where its device cannot be used."""

    reason: str


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """How long a batch takes: `a_s` for each image and `b_s` besides; seconds."""

    a_s: float
    b_s: float

    def seconds(self, images: int) -> float:
        """Estimate a batch of so many images."""
        return self.a_s * images + self.b_s


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How a checkpoint came onto a worker's device.

    `bytes` are those it adds to the device, without an encoder that was there already.
    `golden_difference` is the largest difference to the golden scores, None without any.
    """

    bytes: int
    seconds: float
    latency: LatencyLine | None
    golden_difference: float | None = None


@dataclass(frozen=True, slots=True)
class Resident:
    """A checkpoint on a worker's device; `last_used` is on the clock of the event loop."""

    bytes: int
    loaded_s: float
    last_used: float
    latency_line: LatencyLine | None
    golden: float | None = None


class Priority(IntEnum):
    """Which images go first; one that waits long enough goes before any that came later."""

    HIGH = 0
    NORMAL = 1


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch, but for its pixels.

    The calibration is the one that held when the image was taken in: the worker decides by it.
    """

    category: Category
    image_size: ImageSize
    wants_map: bool
    calibration: Calibration


@dataclass(frozen=True, slots=True, eq=False)
class BatchRequest:
    """A batch for one checkpoint."""

    checkpoint: CheckpointKey
    items: tuple[Item, ...]
    pixels: UInt8[np.ndarray, "b 3 h w"]


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What the network found in one image; see `model.Inspection`.

    `pixel_scores` lie in 0 to 1 with 0.5 at the pixel threshold, at the resolution of the
    network's input; they are there only when the item wanted them.
    """

    decision: Decision
    score: float
    raw_score: float
    threshold: float
    regions: tuple[Region, ...]
    timings_ms: Mapping[str, float]
    pixel_scores: Float32[np.ndarray, "h w"] | None = None


class FailureKind(StrEnum):
    """Why an image was not inspected, though its worker lives."""

    NON_FINITE = "non-finite"
    CHECKPOINT = "checkpoint"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that was not inspected."""

    kind: FailureKind


Outcome: TypeAlias = Finding | Failure


@dataclass(frozen=True, slots=True)
class BatchReply:
    """One outcome per item of the request, in its order."""

    outcomes: tuple[Outcome, ...]

"""What the service and its workers say to each other, over one pipe per worker.

Requests carry an id, and so does the reply to each: a checkpoint loads while batches are computed.
Pixels and maps do not go through the pipe but lie in a block of memory that both sides see.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Category, Decision, ImageSize, Region

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """All that a worker is told; several `lanes` compute a batch at once by one thread each."""

    name: str
    device: str
    backend: str
    threads: int
    weights_dir: Path
    log_level: str
    log_format: str = "json"
    max_batch_size: int = 16
    heartbeat_s: float = 1.0
    precision: str = "auto"
    cuda_graphs: bool = True
    lanes: int = 1
    max_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message: its device can be used."""

    pid: int


@dataclass(frozen=True, slots=True)
class CannotStart:
    """A worker's only message, where its device cannot be used."""

    reason: str


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, sent whatever else the worker does."""


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """How long a batch takes: `a_s` for each image and `b_s` besides; seconds."""

    a_s: float
    b_s: float

    def seconds(self, images: int) -> float:
        """Estimate a batch of so many images."""
        return self.a_s * images + self.b_s


class Sharing(StrEnum):
    """When a worker with several lanes puts all of its threads to one batch.

    An image that comes alone may be answered sooner so; what comes next then waits for it.
    """

    ALWAYS = "always"
    IDLE = "idle"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How a checkpoint came onto a worker's device.

    `bytes` are those it adds to the device, without an encoder that was there already.
    `golden_difference` is the largest difference to the golden scores, None without any.
    """

    bytes: int
    seconds: float
    golden_difference: float | None = None
    sharing: Sharing = Sharing.ALWAYS


@dataclass(frozen=True, slots=True)
class Resident:
    """A checkpoint on a worker's device, there `since` then; times on the event loop's clock."""

    bytes: int
    loaded_s: float
    last_used: float
    latency_line: LatencyLine | None
    golden: float | None = None
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch, but for its pixels.

    The calibration is the one that held when the image was taken in: the worker decides by it.
    `inputs` is how many inputs of the network the image takes, `map_size` the size of its map where
    that is not the input's.
    """

    category: Category
    image_size: ImageSize
    wants_map: bool
    calibration: Calibration
    inputs: int = 1
    map_size: ImageSize | None = None


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A batch for one checkpoint; `size` is (height, width) of the network's input.

    The pixels are at the start of that `block` of those which both sides share. The maps that items
    want are written behind them, in the items' order. A batch that is not `alone` takes one lane.
    """

    id: int
    checkpoint: CheckpointKey
    items: tuple[Item, ...]
    size: tuple[int, int]
    block: int = 0
    alone: bool = True

    @property
    def pixels_shape(self) -> tuple[int, int, int, int]:
        """Of the images' inputs, one after the other, uint8."""
        return (sum(item.inputs for item in self.items), 3, *self.size)

    @property
    def map_shapes(self) -> list[tuple[int, int]]:
        """Of the maps wanted, float32."""
        sizes = [item.map_size for item in self.items if item.wants_map]
        return [self.size if size is None else (size.height, size.width) for size in sizes]

    @property
    def map_offsets(self) -> list[int]:
        """Where in the block each map begins; the last number is where they end."""
        start = math.ceil(math.prod(self.pixels_shape) / _ALIGNMENT) * _ALIGNMENT
        return list(accumulate((4 * h * w for h, w in self.map_shapes), initial=start))

    @property
    def nbytes(self) -> int:
        """How large the block has to be."""
        return self.map_offsets[-1]


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier load measured: how large batches should be, and when threads share one."""

    limit: int
    sharing: Sharing


@dataclass(frozen=True, slots=True)
class Load:
    """Bring a checkpoint onto the device.

    Of one that was there before, only a single image and a batch as large as is `known` to pay are
    computed to warm it up: somebody may be waiting for it.
    """

    id: int
    checkpoint: CheckpointKey
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Unload:
    """Free a checkpoint, of which no batch is on the way."""

    id: int
    checkpoint: CheckpointKey


Request: TypeAlias = BatchRequest | Load | Unload


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What the network found in one image; see `model.Inspection`.

    `pixel_scores` lie in 0 to 1 with 0.5 at the pixel threshold, at the resolution of the image's
    map, which spans it; they are there only when the item wanted them.
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
class WorkerStats:
    """What a worker measured about itself.

    `device_bytes` is what the process holds of its device's memory (of the machine's, on a CPU),
    `model_bytes` the weights', shared encoders counted once; `compute_s` is since the last reply.
    """

    device_bytes: int = 0
    model_bytes: int = 0
    encoders: int = 0
    compute_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchReply:
    """One outcome per item of the request, in its order.

    The batch waited `waited_s` in the worker, for another or for a pass of a warm-up. `split` says
    why it was halved, if it was: "failed" or "out-of-memory"; `batch_limit` is what memory holds.
    """

    id: int
    outcomes: tuple[Outcome, ...]
    stats: WorkerStats
    waited_s: float = 0.0
    split: str | None = None
    batch_limit: int | None = None


@dataclass(frozen=True, slots=True)
class LoadReply:
    """A report, or why the checkpoint is not there; `seconds` are those of each size of batch."""

    id: int
    loaded: LoadReport | str
    stats: WorkerStats
    seconds: Mapping[int, float] = field(default_factory=dict)
    batch_limit: int | None = None


@dataclass(frozen=True, slots=True)
class UnloadReply:
    """The checkpoint is gone."""

    id: int
    stats: WorkerStats

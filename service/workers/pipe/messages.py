"""Messages between the service and a worker process, over one pipe.

Requests and replies carry an id, because a checkpoint loads while batches are computed. Pixels and
maps go through shared memory instead.
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
    """The settings of a worker; each of several `lanes` computes a batch with one thread.

    A spare does everything at low priority, until it takes over.
    """

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
    is_spare: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message: its device works."""

    pid: int


@dataclass(frozen=True, slots=True)
class CannotStart:
    """A worker's only message if its device does not work."""

    reason: str


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat, sent from a thread of its own."""


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """The duration of a batch in seconds: `a_s` per image, and `b_s` per batch."""

    a_s: float
    b_s: float

    def seconds(self, images: int) -> float:
        """Return the expected seconds of a batch of so many images."""
        return self.a_s * images + self.b_s


class Sharing(StrEnum):
    """When all threads of a worker with several lanes compute one batch.

    That may answer a lone image sooner, but later images then wait for it.
    """

    ALWAYS = "always"
    IDLE = "idle"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A loaded checkpoint; `bytes` are without an encoder that was already loaded."""

    bytes: int
    seconds: float
    golden_difference: float | None = None  # None without golden images
    sharing: Sharing = Sharing.ALWAYS
    engine: str = "torch, float32"  # library and precision


@dataclass(frozen=True, slots=True)
class Resident:
    """A checkpoint on a worker's device, loaded at `since`; times by the event loop's clock."""

    bytes: int
    loaded_s: float
    last_used: float
    latency_line: LatencyLine | None
    golden: float | None = None
    since: float = 0.0
    engine: str = "torch, float32"


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch, without its pixels.

    The worker decides by `calibration`, which was in force when the image arrived. `inputs` is the
    number of network inputs, `map_size` the size of the map if it differs from an input's. The
    map is sent if `wants_map`, or if the decision is one of `maps_of`.
    """

    category: Category
    image_size: ImageSize
    wants_map: bool
    calibration: Calibration
    inputs: int = 1
    map_size: ImageSize | None = None
    maps_of: frozenset[Decision] = frozenset()

    @property
    def has_place(self) -> bool:
        """Whether the shared block has a place for the map."""
        return self.wants_map or bool(self.maps_of)

    def sends_map(self, decision: Decision) -> bool:
        """Whether the worker sends the map of an image with this decision."""
        return self.wants_map or decision in self.maps_of


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A batch for one checkpoint; `size` is (height, width) of the network's input.

    The shared block number `block` begins with the pixels. The places of the items' maps follow, in
    order. A batch that is not `alone` takes one lane.
    """

    id: int
    checkpoint: CheckpointKey
    items: tuple[Item, ...]
    size: tuple[int, int]
    block: int = 0
    alone: bool = True

    @property
    def pixels_shape(self) -> tuple[int, int, int, int]:
        """The shape of all images' inputs, uint8."""
        return (sum(item.inputs for item in self.items), 3, *self.size)

    @property
    def map_shapes(self) -> list[tuple[int, int]]:
        """The shapes of the places of maps, float32."""
        sizes = [item.map_size for item in self.items if item.has_place]
        return [self.size if size is None else (size.height, size.width) for size in sizes]

    @property
    def map_offsets(self) -> list[int]:
        """The offset of each map in the block, and the end of the last."""
        start = math.ceil(math.prod(self.pixels_shape) / _ALIGNMENT) * _ALIGNMENT
        return list(accumulate((4 * h * w for h, w in self.map_shapes), initial=start))

    @property
    def nbytes(self) -> int:
        """The required size of the block."""
        return self.map_offsets[-1]


@dataclass(frozen=True, slots=True)
class PriorLoad:
    """The results of an earlier load: the batch size, and when threads share a batch."""

    limit: int
    sharing: Sharing


@dataclass(frozen=True, slots=True)
class Load:
    """Load a checkpoint onto the device.

    With a `prior` load, the warm-up computes only a single image and a batch of the prior size,
    because an image may be waiting.
    """

    id: int
    checkpoint: CheckpointKey
    prior: PriorLoad | None = None


@dataclass(frozen=True, slots=True)
class Unload:
    """Free a checkpoint that has no batches in progress."""

    id: int
    checkpoint: CheckpointKey


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Go on as a worker instead of as a spare; not answered."""


Request: TypeAlias = BatchRequest | Load | Unload


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The result for one image; see `model.Inspection`.

    `pixel_scores` are from 0 to 1, 0.5 at the pixel threshold, at the resolution of the map, which
    covers the whole image; None unless the item's map was sent. `engine` is as in `LoadReport`, or
    None if an earlier release recorded the finding without it.
    """

    decision: Decision
    score: float
    raw_score: float
    threshold: float
    regions: tuple[Region, ...]
    timings_ms: Mapping[str, float]
    pixel_scores: Float32[np.ndarray, "h w"] | None = None
    engine: str | None = None


class FailureKind(StrEnum):
    """Why an image was not inspected, although its worker lives."""

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
    """A worker's measurements of itself.

    `device_bytes` is its memory on the device (on a CPU, its resident memory), `model_bytes` that
    of all weights, with each shared encoder counted once, and `compute_s` the computing time since
    the last reply.
    """

    device_bytes: int = 0
    model_bytes: int = 0
    encoders: int = 0
    compute_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchReply:
    """One outcome per item of the request, in its order.

    The batch waited `waited_s` in the worker, for another batch or a warm-up pass. `split` is
    "failed" or "out-of-memory" if the batch was halved; `batch_limit` is the size that fits memory.
    """

    id: int
    outcomes: tuple[Outcome, ...]
    stats: WorkerStats
    waited_s: float = 0.0
    split: str | None = None
    batch_limit: int | None = None


@dataclass(frozen=True, slots=True)
class LoadReply:
    """A report, or the reason of the failure; `seconds` are the warm-up times by batch size."""

    id: int
    loaded: LoadReport | str
    stats: WorkerStats
    seconds: Mapping[int, float] = field(default_factory=dict)
    batch_limit: int | None = None


@dataclass(frozen=True, slots=True)
class UnloadReply:
    """The checkpoint is unloaded."""

    id: int
    stats: WorkerStats

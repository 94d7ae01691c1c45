"""The types that everyone shares: the input of an inspection and its result.

Category     a kind of part that a checkpoint was trained and calibrated for
AnomalyMap   one raw anomaly value per pixel of the network's input
Region       a connected patch of anomalous pixels, in the geometry of the input image
Decision     OK, NG, REVIEW or UNDECIDED
Inspection   the result for one image
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

Category: TypeAlias = str
"""Name of a kind of part: letters, digits, '.', '_' and '-', e.g. ``solar-mono``."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""A valid name of a category or a checkpoint."""


class Decision(StrEnum):
    """What the line should do with a part.

    REVIEW asks a person: the score is above the review threshold, if one is set, but not above the
    image threshold. UNDECIDED means that the network gave no answer.
    """

    OK = "OK"
    NG = "NG"
    REVIEW = "REVIEW"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Height and width of an image, in pixels."""

    height: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyMap:
    """Raw anomaly values at the resolution of the network's input.

    Higher `values` are more anomalous; compare them with `pixel_threshold`. They are at least 0 (up
    to float rounding), unless they are deviations from a baseline. `image_size` is the size of the
    inspected image, which the map spans edge to edge.
    """

    values: Float32[np.ndarray, "h w"]
    image_size: ImageSize
    pixel_threshold: float


@dataclass(frozen=True, slots=True)
class Region:
    """A connected patch of pixels above the pixel threshold, in input-image pixels.

    An image that is not OK but has no such pixel gets one region around its highest pixel. `box` is
    (x, y, width, height), `peak` the (x, y) of the most anomalous pixel and `peak_score` its value
    from 0 to 1, where 0.5 is the pixel threshold.
    """

    box: tuple[int, int, int, int]
    area_px: int
    peak: tuple[int, int]
    peak_score: float


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """The result of inspecting one image.

    `score` is from 0 to 1 with 0.5 at the threshold; `raw_score` and `threshold` are in the
    network's units, and NG means `raw_score > threshold` (see `Calibration.decide`). `regions` are
    sorted, most anomalous first. `timings_ms` has one entry per stage of the image's batch.
    """

    category: Category
    decision: Decision
    score: float
    raw_score: float
    threshold: float
    anomaly_map: AnomalyMap
    regions: tuple[Region, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)

"""The words everyone shares: what is inspected, and what comes back.

Category     a kind of part that a checkpoint was trained and calibrated for
AnomalyMap   one raw anomaly value per pixel of the network's input
Region       a connected patch of anomalous pixels, in the geometry of the input image
Decision     OK, NG, REVIEW or UNDECIDED
Inspection   everything known about one inspected image
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
"""What names a category, and a checkpoint."""


class Decision(StrEnum):
    """What the line should do with a part.

    REVIEW asks a person: the score lies above the review threshold, where there is one, and not
    above the image threshold. UNDECIDED is never the network's: it is said where there is no
    answer of its.
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

    Higher `values` are more anomalous, and comparable with `pixel_threshold`; they are at least 0
    (up to float rounding), or deviations from a baseline, which can be below. `image_size` is the
    size of the image that was inspected, which the map spans edge to edge.
    """

    values: Float32[np.ndarray, "h w"]
    image_size: ImageSize
    pixel_threshold: float


@dataclass(frozen=True, slots=True)
class Region:
    """A connected patch of anomalous pixels, in input-image pixels.

    They are above the pixel threshold; or, in an image that is not OK without any such pixel,
    around the highest one. `box` is (x, y, width, height), `peak` the (x, y) of the most anomalous
    pixel and `peak_score` its value on the 0 to 1 scale, where 0.5 is the pixel threshold.
    """

    box: tuple[int, int, int, int]
    area_px: int
    peak: tuple[int, int]
    peak_score: float


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """The result of inspecting one image.

    `score` lies in 0 to 1 with 0.5 at the threshold; `raw_score` and `threshold` are in the
    network's own units and NG means `raw_score > threshold`; see `Calibration.decide`. `regions`
    come most anomalous first.
    `timings_ms` has one entry per stage of the batch that the image was part of.
    """

    category: Category
    decision: Decision
    score: float
    raw_score: float
    threshold: float
    anomaly_map: AnomalyMap
    regions: tuple[Region, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)

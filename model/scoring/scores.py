"""From an anomaly map to a score and to regions."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from model.errors import ConfigError
from model.inspection import AnomalyMap, Region
from model.limits import LARGEST_NUMBER, MOST_MEMORY_WEIGHT, MOST_PATCHES, MOST_SIGMA_PX
from model.scoring.components import Components
from model.stored import Stored

DISTANCES = ("cosine", "mahalanobis")
_MOST_MEMBERS = 64
"""Pixels in a group: more leave too few groups, fewer leave too many maxima."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring(Stored):
    """How features become an anomaly map and the map one number; the defaults are the paper's.

    `statistic` is "max", or "top_mean": the mean of the highest `top_fraction` of the pixels.
    `sigma` blurs the map first, in pixels. `scale_weights` are the shares of the three scales in
    the map, fine to coarse; the finest ones are not reconstructed if their weight is 0.
    `distance` compares the features of encoder and decoder at each position: "cosine", or
    "mahalanobis" from the category's `model.scoring.residual_baseline`. `standardise` measures
    each pixel of a cosine map from the category's `model.scoring.map_baseline`. `memory` patches of
    each category's good parts are remembered, and each image's distance from them is added to the
    map with `memory_weight`: see `model.scoring.fused_baseline`.
    """

    statistic: str = "max"
    top_fraction: float = 0.01
    sigma: float = 4.0
    scale_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    standardise: bool = False
    distance: str = "cosine"
    memory: int = 0
    memory_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.statistic not in ("max", "top_mean"):
            raise ConfigError(f"statistic must be 'max' or 'top_mean', got {self.statistic!r}")
        if self.distance not in DISTANCES:
            raise ConfigError(f"distance must be one of {DISTANCES}, got {self.distance!r}")
        if self.standardise and self.measures_differences:
            raise ConfigError(
                "standardise cannot be combined with distance 'mahalanobis', which has a baseline "
                "already; set one of the two"
            )
        if not 0 < self.top_fraction <= 1:
            raise ConfigError(f"top_fraction must be in (0, 1], got {self.top_fraction}")
        if not 0 <= self.sigma <= MOST_SIGMA_PX:
            raise ConfigError(f"sigma must be 0 to {MOST_SIGMA_PX:g} pixels, got {self.sigma}")
        weights = self.scale_weights
        if (
            len(weights) != 3
            or not all(0 <= w <= LARGEST_NUMBER for w in weights)
            or not sum(weights)
        ):
            raise ConfigError(
                f"scale_weights must be three numbers of at least 0, not all 0, got {weights}"
            )
        if not 0 <= self.memory <= MOST_PATCHES:
            raise ConfigError(f"memory must be 0 to {MOST_PATCHES} patches, got {self.memory}")
        if not 0 < self.memory_weight <= MOST_MEMORY_WEIGHT:
            raise ConfigError(
                f"memory_weight must be above 0 and at most {MOST_MEMORY_WEIGHT:g}, "
                f"got {self.memory_weight}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; older programs can read them without a memory."""
        values = Stored.to_dict(self)
        if not self.memory and self.memory_weight == 1:
            del values["memory"], values["memory_weight"]
        return values

    @property
    def measures_differences(self) -> bool:
        """Whether an engine returns differences of features instead of maps: see `distance`."""
        return self.distance == "mahalanobis"

    @property
    def uses_baselines(self) -> bool:
        """Whether every category needs a baseline."""
        return self.needs_alignment or self.memory > 0

    @property
    def needs_alignment(self) -> bool:
        """Whether parts must lie the same way in every image, because places are compared."""
        return self.standardise or self.measures_differences

    @property
    def unused_scales(self) -> int:
        """The number of finest scales that the map does not use."""
        return next(i for i, weight in enumerate(self.scale_weights) if weight)

    def raw_scores(self, maps: Float[np.ndarray, "B H W"]) -> Float[np.ndarray, " B"]:
        """Return one score a map, in the map's units."""
        flat = maps.reshape(len(maps), -1)
        if self.statistic == "max":
            highest: np.ndarray = flat.max(axis=1)
            return highest
        count = max(1, round(self.top_fraction * flat.shape[1]))
        means = [_highest(row, count).mean(dtype=np.float64) for row in flat]
        return np.array(means, flat.dtype)


def find_regions(
    anomaly_map: AnomalyMap, pixel_score: Callable[[float], float], limit: int = 5
) -> tuple[Region, ...]:
    """Return connected patches above the pixel threshold, most anomalous first, at most `limit`.

    `pixel_score` turns a raw value into the 0 to 1 scale. Boxes are in input-image pixels, rounded
    outwards.
    """
    above = anomaly_map.values > anomaly_map.pixel_threshold
    rows, columns = (np.flatnonzero(above.any(axis=axis)).tolist() for axis in (1, 0))
    if not rows:
        return ()
    # only there: pixels below the threshold take as long as those above
    top, left = rows[0], columns[0]
    corner = slice(top, rows[-1] + 1), slice(left, columns[-1] + 1)
    components = Components.of(above[corner])
    peaks = components.highest(anomaly_map.values[corner])
    worst = np.argsort(-peaks, kind="stable")[:limit].tolist()
    return tuple(
        _region(
            anomaly_map, components.inside(i), _moved(components.window(i), top, left), pixel_score
        )
        for i in worst
    )


def peak_region(anomaly_map: AnomalyMap, pixel_score: Callable[[float], float]) -> Region:
    """Return the patch around the highest pixel, down to half-way from there to the median.

    For an anomalous image without a pixel above the pixel threshold, because its score comes from
    many pixels: it still shows people where to look.
    """
    values = anomaly_map.values
    peak = values.max()
    half_way = (np.median(values) + peak) / 2
    threshold = float(min(half_way, np.nextafter(peak, -np.inf, dtype=values.dtype)))
    (region,) = find_regions(replace(anomaly_map, pixel_threshold=threshold), pixel_score, limit=1)
    return region


def _highest(values: Float[np.ndarray, " pixels"], count: int) -> Float[np.ndarray, " count"]:
    """Return the `count` highest values, in any order; NaN counts as the highest.

    Partitioning all pixels takes ten times as long as finding those that can be among the highest:
    no value below the `count` highest maxima of groups is.
    """
    members = min(_MOST_MEMBERS, len(values) // (2 * count))
    if members > 1:
        groups = len(values) // members
        maxima = values[: members * groups].reshape(members, groups).max(axis=0)
        least = np.partition(maxima, groups - count)[groups - count]
        if np.isfinite(maxima.max()):
            values = values[~(values < least)]  # keeps NaN
    return np.partition(values, len(values) - count)[len(values) - count :]


def _moved(window: tuple[slice, slice], top: int, left: int) -> tuple[slice, slice]:
    rows, columns = window
    return (
        slice(rows.start + top, rows.stop + top),
        slice(columns.start + left, columns.stop + left),
    )


def _region(
    anomaly_map: AnomalyMap,
    inside: Bool[np.ndarray, "rows columns"],
    window: tuple[slice, slice],
    pixel_score: Callable[[float], float],
) -> Region:
    height, width = anomaly_map.values.shape
    down = anomaly_map.image_size.height / height
    across = anomaly_map.image_size.width / width
    rows, columns = window
    left, top = math.floor(columns.start * across), math.floor(rows.start * down)
    right, bottom = math.ceil(columns.stop * across), math.ceil(rows.stop * down)
    values = np.where(inside, anomaly_map.values[window], -np.inf)
    row, column = np.unravel_index(values.argmax(), values.shape)
    return Region(
        box=(left, top, right - left, bottom - top),
        area_px=round(np.count_nonzero(inside) * down * across),
        peak=(
            int((columns.start + column + 0.5) * across),
            int((rows.start + row + 0.5) * down),
        ),
        peak_score=pixel_score(float(values[row, column])),
    )

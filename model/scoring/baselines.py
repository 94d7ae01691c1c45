"""The baselines of several categories, of any kind: applied, stored, restored."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from model.errors import UnknownCategory
from model.inspection import Category
from model.scoring.fused_baseline import MEMORY_ARRAYS, FusedBaseline
from model.scoring.map_baseline import Baseline
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.scores import Scoring

AnyBaseline: TypeAlias = Baseline | FeatureBaseline | FusedBaseline
"""Turns an engine's output for an image into an anomaly map: see `model.inference.engine`."""


PATCH_STRIDE = 8
"""Pixels from one remembered patch to the next: the stride of the encoder's middle features."""


def to_arrays(baselines: Mapping[str, AnyBaseline]) -> dict[str, np.ndarray]:
    """Return the baselines of several categories as arrays named "<array>/<category>"."""
    return {
        f"{name}/{category}": array
        for category, baseline in baselines.items()
        for name, array in baseline.to_arrays().items()
    }


def standardised(
    compared: Float32[np.ndarray, "B *what"],
    categories: Sequence[Category],
    baselines: Mapping[Category, AnyBaseline],
    size: tuple[int, int],
) -> Float32[np.ndarray, "B H W"]:
    """Return the anomaly map of each input, measured from its category's baseline.

    Raises `UnknownCategory` for a category without a baseline.
    """
    missing = sorted(set(categories) - set(baselines))
    if missing:
        raise UnknownCategory(
            f"no baseline for {', '.join(missing)}: train with good images of them"
        )
    if len(set(categories)) == 1:  # without copies of the rows
        return baselines[categories[0]].standardise(compared)
    maps = np.empty((len(compared), *size), np.float32)
    for category in sorted(set(categories)):
        members = np.array([name == category for name in categories])
        maps[members] = baselines[category].standardise(compared[members])
    return maps


def from_arrays(
    arrays: Mapping[str, np.ndarray], scoring: Scoring, size: tuple[int, int]
) -> dict[str, AnyBaseline]:
    """Restore baselines from `to_arrays` output, for maps of `size` (height, width) pixels.

    Raises `KeyError` if an array is missing, `ValueError` if shapes do not fit together.
    """
    parts: defaultdict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for path, array in sorted(arrays.items()):
        name, category = path.split("/", 1)
        parts[category][name] = array
    return {name: _restored(part, scoring, size) for name, part in parts.items()}


def _restored(
    arrays: Mapping[str, np.ndarray], scoring: Scoring, size: tuple[int, int]
) -> AnyBaseline:
    """Restore one category's baseline."""
    if not scoring.memory:
        return _of_decoder(arrays, scoring, size)
    of_decoder = {name: array for name, array in arrays.items() if name not in MEMORY_ARRAYS}
    decoder = _of_decoder(of_decoder, scoring, size) if scoring.needs_alignment else None
    grid = (size[0] // PATCH_STRIDE, size[1] // PATCH_STRIDE)
    made = (grid, size, scoring.sigma, scoring.memory_weight)
    return FusedBaseline.from_arrays(arrays, decoder, *made)


def _of_decoder(
    arrays: Mapping[str, np.ndarray], scoring: Scoring, size: tuple[int, int]
) -> Baseline | FeatureBaseline:
    if scoring.measures_differences:
        return FeatureBaseline.from_arrays(arrays, scoring.scale_weights, size, scoring.sigma)
    return Baseline(arrays["mean"], arrays["deviation"])

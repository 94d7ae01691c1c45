"""The baselines of several categories, of either kind: applied, stored, restored."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from model.errors import UnknownCategory
from model.inspection import Category
from model.scoring.map_baseline import Baseline
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.scores import Scoring

AnyBaseline: TypeAlias = Baseline | FeatureBaseline
"""Turns an engine's output for an image into an anomaly map: see `model.inference.engine`."""


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
    if scoring.measures_differences:
        geometry = (scoring.scale_weights, size, scoring.sigma)
        return {name: FeatureBaseline.from_arrays(part, *geometry) for name, part in parts.items()}
    return {name: Baseline(part["mean"], part["deviation"]) for name, part in parts.items()}

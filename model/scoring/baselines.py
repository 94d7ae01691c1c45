"""The baselines of several categories, of whichever kind their scoring asks for, as arrays."""

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
"""Makes an anomaly map of what an engine answers for an image: see `model.inference.engine`."""


def to_arrays(baselines: Mapping[str, AnyBaseline]) -> dict[str, np.ndarray]:
    """Return the baselines of several categories as arrays by name, "<what>/<category>"."""
    return {
        f"{what}/{category}": array
        for category, baseline in baselines.items()
        for what, array in baseline.to_arrays().items()
    }


def standardised(
    compared: Float32[np.ndarray, "B *what"],
    categories: Sequence[Category],
    baselines: Mapping[Category, AnyBaseline],
    size: tuple[int, int],
) -> Float32[np.ndarray, "B H W"]:
    """Measure each input from its category's baseline, those of one category together.

    Raises `UnknownCategory` for one that has none.
    """
    missing = sorted(set(categories) - set(baselines))
    if missing:
        raise UnknownCategory(
            f"no baseline for {', '.join(missing)}: train with good images of them"
        )
    maps = np.empty((len(compared), *size), np.float32)
    for category in sorted(set(categories)):
        own = np.array([name == category for name in categories])
        maps[own] = baselines[category].standardise(compared[own])
    return maps


def from_arrays(
    arrays: Mapping[str, np.ndarray], scoring: Scoring, size: tuple[int, int]
) -> dict[str, AnyBaseline]:
    """Put together what `to_arrays` returned, for maps of `size` (height, width) pixels.

    Raises `KeyError` where a part is missing, `ValueError` where parts do not fit together.
    """
    parts: defaultdict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for name, array in sorted(arrays.items()):
        what, category = name.split("/", 1)
        parts[category][what] = array
    if scoring.measures_differences:
        made = (scoring.scale_weights, size, scoring.sigma)
        return {name: FeatureBaseline.from_arrays(own, *made) for name, own in parts.items()}
    return {name: Baseline(own["mean"], own["deviation"]) for name, own in parts.items()}

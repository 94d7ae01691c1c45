"""Draws beforehand when requests arrive and for which category, independently of the service."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from benchmarks.loading import CannotMeasure


class Arrivals(StrEnum):
    """Requests at random times, as from many stations, or at equal intervals."""

    POISSON = "poisson"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: its intended time in seconds after the start, its category and image.

    `image` counts up; a category's images repeat.
    """

    at_s: float
    category: str
    image: int


def schedule(
    arrivals: Arrivals,
    rate: float,
    duration_s: float,
    mix: Mapping[str, float],
    seed: int = 0,
) -> list[Shot]:
    """Return the requests of a run in order of time; `mix` gives each category's weight."""
    check_mix(mix)
    if not (rate > 0 and math.isfinite(rate) and duration_s > 0):
        raise CannotMeasure(f"expected rate and duration above 0, got {rate} and {duration_s}")
    dice = np.random.default_rng(seed)
    if arrivals is Arrivals.CONSTANT:
        times = np.arange(0, duration_s, 1 / rate)
    else:
        times = _poisson(rate, duration_s, dice)
    shares = np.array(list(mix.values())) / sum(mix.values())
    chosen = dice.choice(len(mix), len(times), p=shares)
    names = list(mix)
    return [
        Shot(float(at), names[which], number)
        for number, (at, which) in enumerate(zip(times, chosen, strict=True))
    ]


def check_mix(mix: Mapping[str, float]) -> None:
    """Raise `CannotMeasure` unless there is a category and every weight is above 0."""
    if not mix or min(mix.values()) <= 0 or not all(map(math.isfinite, mix.values())):
        raise CannotMeasure(f"expected categories with weights above 0, got {dict(mix)}")


def _poisson(rate: float, duration_s: float, dice: np.random.Generator) -> np.ndarray:
    """Return arrival times, uniformly distributed for their number."""
    return np.sort(dice.uniform(0, duration_s, dice.poisson(rate * duration_s)))

"""The promise that calibration makes for a threshold, as far as the stored numbers tell.

Calibration stores 21 quantiles of the held-out good parts' scores, not the scores. A quantile tells
how many of them are certainly not above it, so each threshold has a bound of the rate of good parts
above it, by the argument of `model.calibration.conformal`: with m of n held-out good parts above,
at most (m + 1) / (n + 1) of good parts like them are above on average.
"""

import math
from dataclasses import dataclass

from model.calibration.calibration import QUANTILES, Calibration
from model.calibration.conformal import ranks_above


@dataclass(frozen=True, slots=True)
class PromiseStep:
    """From `threshold` up, at most `rate` of good parts are above, on average."""

    threshold: float
    rate: float


@dataclass(frozen=True, slots=True)
class Promises:
    """The bound at each threshold, thresholds ascending; there is none below the first.

    `good_images` were held out. Without `is_held_out`, networks of a cross-calibration scored them,
    and the bounds are estimates. Without `has_quantiles`, an older calibration stored none.
    """

    steps: tuple[PromiseStep, ...]
    good_images: int
    is_held_out: bool
    has_quantiles: bool


def promises_of(calibration: Calibration) -> Promises:
    """Return the bounds that a stored calibration allows."""
    n = calibration.good_images
    point = calibration.operating_point
    not_above: list[tuple[float, int]] = []
    for level, quantile in zip(QUANTILES, calibration.good_quantiles or (), strict=False):
        # It lies between two scores, as numpy interpolates: the lower one and all before are not
        # above it.
        not_above.append((quantile, math.floor(level * (n - 1)) + 1))
    if point is None or point.keeps_alpha:
        ranks = n + 1 - ranks_above(n, calibration.alpha)
        not_above.append((calibration.image_threshold, ranks))
    steps: list[PromiseStep] = []
    most = 0
    for threshold, count in sorted(not_above):
        if count > most:
            most = count
            steps.append(PromiseStep(threshold, (n - count + 1) / (n + 1)))
    return Promises(
        tuple(steps), n, calibration.folds is None, calibration.good_quantiles is not None
    )

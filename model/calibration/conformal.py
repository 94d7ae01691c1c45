"""Split conformal prediction: thresholds by rank, whose promise needs no model of the scores.

When n examples and the next part are exchangeable (same line, same camera, none of them trained
on), the next one is equally likely to take any of the n + 1 ranks. With the k-th smallest of the
examples' scores as the threshold it lies above with probability at most (n + 1 - k) / (n + 1),
whatever the scores' distribution; ties only lower it.

    n      number of examples
    alpha  the rate asked for
    k      ceil((n + 1) (1 - alpha)), and n where that exceeds n
"""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from model.errors import CalibrationError

Column = npt.NDArray[np.float64]


def conformal_quantile(scores: npt.ArrayLike, alpha: float) -> float:
    """Return the k-th smallest score (see the module's head), the largest where k exceeds n.

    Raises `CalibrationError` for empty or non-finite scores, or `alpha` outside (0, 1).
    """
    check_rate("alpha", alpha)
    values = column("scores", scores)
    rank = len(values) + 1 - ranks_above(len(values), alpha)
    return float(np.partition(values, rank - 1)[rank - 1])


def conformal_lower_quantile(scores: npt.ArrayLike, rate: float) -> float:
    """Return the highest threshold that at most `rate` of such scores do not exceed.

    Just below the k-th smallest, k = floor((n + 1) rate), or below the smallest where n examples
    are too few to promise `rate`. Raises as `conformal_quantile`.
    """
    check_rate("the escape rate", rate)
    values = column("scores", scores)
    k = ranks_above(len(values), rate)
    return math.nextafter(float(np.partition(values, k - 1)[k - 1]), -math.inf)


def ranks_above(n: int, alpha: float) -> int:
    """Return n + 1 - k: how many of the n + 1 ranks lie above the threshold; 1 to n."""
    return max(1, math.floor((n + 1) * exact(alpha)))


def exact(rate: float) -> Fraction:
    """Return the decimal that was written, so that 100 x 0.29 is 29 and not a hair less."""
    return Fraction(repr(float(rate)))


def column(name: str, values: npt.ArrayLike) -> Column:
    """Return one finite float64 for each image, at least one; raises `CalibrationError`."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or found.size == 0:
        raise CalibrationError(
            f"{name} must be one number per image, at least one; "
            f"got an array of shape {found.shape}"
        )
    bad = int(np.count_nonzero(~np.isfinite(found)))
    if bad:
        raise CalibrationError(f"{name} must be finite; {bad} of {found.size} are not")
    return found


def check_rate(name: str, rate: float) -> None:
    """Raise `CalibrationError` unless `rate` lies between 0 and 1."""
    if not 0 < rate < 1:
        raise CalibrationError(f"{name} must be between 0 and 1 (0.01 means 1 %), got {rate}")


def rate_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's exact interval: none in 100 does not mean none ever."""
    tail = (1 - level) / 2
    low = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return low, high


def percent(rate: float) -> str:
    """Return a rate for people."""
    return f"{100 * rate:.3g} %"

"""Split conformal prediction: thresholds by rank, with a guarantee for any score distribution.

If n examples and the next part are exchangeable (same line, same camera, not used for training),
the next part is equally likely to have any of the n + 1 ranks. With the k-th smallest score of the
examples as the threshold, the next score is above it with probability at most
(n + 1 - k) / (n + 1). Ties only lower this.

    n      number of examples
    alpha  the target rate
    k      min(n, ceil((n + 1) (1 - alpha)))
"""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import scipy

from model.errors import CalibrationError

Column = npt.NDArray[np.float64]


def conformal_quantile(scores: npt.ArrayLike, alpha: float) -> float:
    """Return the k-th smallest score (see the module).

    Raises `CalibrationError` for empty or non-finite scores, or `alpha` outside (0, 1).
    """
    check_rate("alpha", alpha)
    values = column("scores", scores)
    rank = len(values) + 1 - ranks_above(len(values), alpha)
    return float(np.partition(values, rank - 1)[rank - 1])


def conformal_lower_quantile(scores: npt.ArrayLike, rate: float) -> float:
    """Return the highest threshold such that at most `rate` of such scores do not exceed it.

    That is just below the k-th smallest score, k = floor((n + 1) rate), or below the smallest if n
    examples are too few to promise `rate`. Raises like `conformal_quantile`.
    """
    check_rate("the escape rate", rate)
    values = column("scores", scores)
    k = ranks_above(len(values), rate)
    return math.nextafter(float(np.partition(values, k - 1)[k - 1]), -math.inf)


def ranks_above(n: int, alpha: float) -> int:
    """Return n + 1 - k, the number of ranks above the threshold; 1 to n."""
    return max(1, math.floor((n + 1) * exact(alpha)))


def images_needed(alpha: float) -> int:
    """Return the smallest n that can promise `alpha`: with fewer, k / (n + 1) is too low."""
    check_rate("alpha", alpha)
    return math.ceil(1 / exact(alpha)) - 1


def guaranteed_rate(n: int, alpha: float) -> float:
    """Return the bound of the rate above the threshold of n examples: `alpha`, or 1 / (n + 1)."""
    return ranks_above(n, alpha) / (n + 1)


def exact(rate: float) -> Fraction:
    """Return a rate as its exact decimal fraction, so that 100 x 0.29 is not slightly below 29."""
    return Fraction(repr(float(rate)))


def column(name: str, values: npt.ArrayLike) -> Column:
    """Return `values` as finite float64, one per image; raises `CalibrationError`."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise CalibrationError(
            f"{name} must be one number per image, at least one; "
            f"got an array of shape {array.shape}"
        )
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise CalibrationError(f"{name} must be finite; {bad} of {array.size} are not")
    return array


def check_rate(name: str, rate: float) -> None:
    """Raise `CalibrationError` unless `rate` is between 0 and 1."""
    if not 0 < rate < 1:
        raise CalibrationError(f"{name} must be between 0 and 1 (0.01 means 1 %), got {rate}")


def rate_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's exact interval of a rate."""
    tail = (1 - level) / 2
    low = float(scipy.special.betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = (
        float(scipy.special.betaincinv(count + 1, total - count, 1 - tail))
        if count < total
        else 1.0
    )
    return low, high


def percent(rate: float) -> str:
    """Format a rate in percent."""
    return f"{100 * rate:.3g} %"

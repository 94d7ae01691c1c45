"""False rejects and escapes at every threshold, and intervals of rates.

    trade_off = TradeOff.of(defective, scores)
    trade_off.false_reject_rates, trade_off.escape_rates, trade_off.thresholds

A part is NG strictly above the threshold, as in `model.calibration`. An escape is a defective part
at or below it, a false reject a good part above it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri

from model.metrics.ranking import check_finite
from model.metrics.resampling import LEVEL

_BLOCK = 4_000_000
"""Largest number of elements of a (resamplings, thresholds) array."""

_ROUNDING = 1e-9
"""So that 2 % of 50 parts is one part, whatever 0.02 * 50 is in binary."""


def wilson(count: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval of the rate `count` / `total`; `total` is at least 1."""
    low, high = wilson_band(np.array([count]), total, level)
    return float(low[0]), float(high[0])


def wilson_band(
    counts: Int[np.ndarray, " n"], total: int, level: float = LEVEL
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the lower and upper ends of Wilson's interval of each count's rate."""
    z = float(ndtri((1 + level) / 2))
    shares = counts / total
    centres = shares + z * z / (2 * total)
    halves = z * np.sqrt(shares * (1 - shares) / total + z * z / (4 * total * total))
    width = 1 + z * z / total
    # Rounding must not leave 1e-18 where no part was counted.
    low = np.where(counts == 0, 0.0, (centres - halves) / width)
    high = np.where(counts == total, 1.0, (centres + halves) / width)
    return low, high


@dataclass(frozen=True, slots=True, eq=False)
class TradeOff:
    """The counts at each threshold, ascending: first -inf, then each distinct score."""

    thresholds: Float[np.ndarray, " t"]
    rejected: Int[np.ndarray, " t"]
    passed: Int[np.ndarray, " t"]
    good: int
    defective: int

    @classmethod
    def of(cls, defective: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> "TradeOff":
        """Count at every threshold; raises `ValueError` unless there are good and defective scores.

        Raises `NonFiniteOutput` for NaN or infinity.
        """
        check_finite(scores)
        good, bad = np.sort(scores[~defective]), np.sort(scores[defective])
        if not len(good) or not len(bad):
            raise ValueError("false rejects and escapes need both good and defective scores")
        thresholds = np.append(-np.inf, np.unique(scores))
        return cls(
            thresholds,
            len(good) - np.searchsorted(good, thresholds, side="right"),
            np.searchsorted(bad, thresholds, side="right"),
            len(good),
            len(bad),
        )

    @property
    def false_reject_rates(self) -> Float[np.ndarray, " t"]:
        """The share of good parts above each threshold."""
        rates: np.ndarray = self.rejected / self.good
        return rates

    @property
    def escape_rates(self) -> Float[np.ndarray, " t"]:
        """The share of defective parts at or below each threshold."""
        rates: np.ndarray = self.passed / self.defective
        return rates

    def place(self, threshold: float) -> int:
        """Return the index of the counts that hold at any threshold."""
        return int(np.searchsorted(self.thresholds, threshold, side="right")) - 1

    def place_of_escapes(self, limit: float) -> int:
        """Return the index of the highest threshold with at most this share of escapes."""
        return int(np.sum(self.passed <= _allowed(limit, self.defective))) - 1

    def costs(self, false_reject: float, escape: float, share: float) -> Float[np.ndarray, " t"]:
        """Return the mean cost of a part at each threshold; `share` of all parts is defective."""
        return _cost(self.false_reject_rates, self.escape_rates, (false_reject, escape, share))


@dataclass(frozen=True, slots=True, eq=False)
class DrawnRates:
    """The rates of every resampling at the thresholds of a `TradeOff`."""

    false_reject_rates: Float[np.ndarray, "R t"]
    escape_rates: Float[np.ndarray, "R t"]
    defective: int

    @classmethod
    def of(
        cls,
        defective: Bool[np.ndarray, " n"],
        scores: Float[np.ndarray, " n"],
        weights: Int[np.ndarray, "R n"],
    ) -> "DrawnRates":
        """Count each resampling at the distinct scores of all images."""
        order = np.argsort(scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        rows = max(1, _BLOCK // len(scores))
        below = []
        for kind in (~defective, defective):
            blocks = [
                np.cumsum(weights[start : start + rows, order] * kind[order], axis=1)[:, ends]
                for start in range(0, len(weights), rows)
            ]
            below.append(np.pad(np.concatenate(blocks), ((0, 0), (1, 0))))
        good, bad = int(np.sum(~defective)), int(np.sum(defective))
        return cls((good - below[0]) / good, below[1] / bad, bad)

    def false_rejects_at(self, limit: float) -> Float[np.ndarray, " R"]:
        """Return each resampling's false rejects at its highest threshold for these escapes."""
        allowed = (_allowed(limit, self.defective) + 0.5) / self.defective
        places = np.sum(self.escape_rates <= allowed, axis=1) - 1
        chosen: np.ndarray = self.false_reject_rates[np.arange(len(places)), places]
        return chosen

    def costs(self, false_reject: float, escape: float, share: float) -> Float[np.ndarray, "R t"]:
        """Return the mean cost of a part in each resampling; see `TradeOff.costs`."""
        return _cost(self.false_reject_rates, self.escape_rates, (false_reject, escape, share))


def _allowed(limit: float, defective: int) -> int:
    return math.floor(limit * defective + _ROUNDING)


def _cost(
    false_rejects: npt.NDArray[np.float64],
    escapes: npt.NDArray[np.float64],
    prices: tuple[float, float, float],
) -> npt.NDArray[np.float64]:
    false_reject, escape, share = prices
    costs: np.ndarray = (1 - share) * false_reject * false_rejects + share * escape * escapes
    return costs

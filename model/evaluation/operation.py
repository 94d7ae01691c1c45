"""False rejects against escapes: over all thresholds, at the one in force, and what they cost.

Bands and intervals at a fixed threshold are Wilson's. Where the test images also choose the
threshold (a limit on escapes), and for costs, intervals come from resamplings of the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError
from model.evaluation.measuring import columns, seed_of
from model.evaluation.results import ImageRecord, Interval
from model.metrics import DrawnRates, TradeOff, wilson
from model.metrics.resampling import LEVEL, RESAMPLINGS, draw, interval

ESCAPE_LIMITS = (0.01, 0.02, 0.05)
_ELEMENTS, _FEWEST = 20_000_000, 100
"""With more images than 20,000 there are fewer resamplings, but never less than 100: memory."""


@dataclass(frozen=True, slots=True)
class Prices:
    """The cost of a false reject and of an escape, in any unit, and the share of defective parts.

    Without `defective_share`, that of the test images is used.
    """

    false_reject: float = 1.0
    escape: float = 20.0
    defective_share: float | None = None

    def __post_init__(self) -> None:
        for name, cost in (("false reject", self.false_reject), ("escape", self.escape)):
            if not 0 <= cost < float("inf"):
                raise ConfigError(f"the cost of a {name} must be finite and at least 0, got {cost}")
        if self.defective_share is not None and not 0 < self.defective_share < 1:
            raise ConfigError(
                "the share of defective parts must be between 0 and 1 (0.01 means 1 %), got "
                f"{self.defective_share}"
            )


@dataclass(frozen=True, slots=True)
class EscapePrice:
    """The false rejects at the highest threshold with at most a share `limit` of escapes.

    `escapes` is their number in the test at that threshold, -inf if every part must be NG.
    """

    limit: float
    threshold: float
    escapes: int
    escape_interval: Interval
    rate: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "escapes_at_most": self.limit,
            "threshold": self.threshold if np.isfinite(self.threshold) else None,
            "escapes": self.escapes,
            "escape_interval": list(self.escape_interval),
            "false_reject_rate": self.rate,
            "false_reject_interval": list(self.interval),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One category's trade-off, at a mix of parts with `defective_share`.

    `costs` are a part's mean cost at each threshold of the trade-off, with a band of resamplings.
    """

    trade_off: TradeOff
    threshold: float
    prices: Prices
    defective_share: float
    escape_prices: tuple[EscapePrice, ...]
    costs: Float[np.ndarray, " t"]
    cost_band: tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]

    @property
    def place(self) -> int:
        """The index of the threshold in force."""
        return self.trade_off.place(self.threshold)

    @property
    def cheapest(self) -> int:
        """The index of the threshold with the lowest cost; the highest of several."""
        return int(np.flatnonzero(self.costs == self.costs.min())[-1])

    def cost_at(self, place: int) -> tuple[float, Interval]:
        """Return a part's mean cost at the place, and its interval."""
        low, high = self.cost_band
        return float(self.costs[place]), (float(low[place]), float(high[place]))

    def to_dict(self) -> dict[str, Any]:
        """Return prices and costs as JSON values; the curve follows from the images' scores."""
        return {
            "threshold": self.threshold,
            "escape_prices": [price.to_dict() for price in self.escape_prices],
            "cost": {
                "false_reject": self.prices.false_reject,
                "escape": self.prices.escape,
                "defective_share": self.defective_share,
                "per_part": self._cost(self.place),
                "lowest": self._cost(self.cheapest),
            },
        }

    def _cost(self, place: int) -> dict[str, Any]:
        cost, pair = self.cost_at(place)
        at = self.threshold if place == self.place else float(self.trade_off.thresholds[place])
        return {
            "threshold": at if np.isfinite(at) else None,
            "cost": cost,
            "interval": list(pair),
            "false_reject_rate": float(self.trade_off.false_reject_rates[place]),
            "escape_rate": float(self.trade_off.escape_rates[place]),
        }


def operate(
    records: Sequence[ImageRecord], prices: Prices, resamplings: int = RESAMPLINGS
) -> Operation | None:
    """Return one category's trade-off; None without good or without defective images."""
    defective, scores, _ = columns(records)
    if not defective.any() or defective.all():
        return None
    trade_off = TradeOff.of(defective, scores)
    affordable = min(resamplings, max(_FEWEST, _ELEMENTS // len(records)))
    weights = draw(defective, affordable, seed_of([record.sample for record in records]))
    drawn = DrawnRates.of(defective, scores, weights)
    share = prices.defective_share
    mix = float(np.mean(defective)) if share is None else share
    paid = (prices.false_reject, prices.escape, mix)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(drawn.costs(*paid), tails, axis=0)
    return Operation(
        trade_off,
        records[0].threshold,
        prices,
        mix,
        tuple(_price(trade_off, drawn, limit) for limit in ESCAPE_LIMITS),
        trade_off.costs(*paid),
        (low, high),
    )


def _price(trade_off: TradeOff, drawn: DrawnRates, limit: float) -> EscapePrice:
    place = trade_off.place_of_escapes(limit)
    escapes = int(trade_off.passed[place])
    return EscapePrice(
        limit,
        float(trade_off.thresholds[place]),
        escapes,
        wilson(escapes, trade_off.defective),
        float(trade_off.false_reject_rates[place]),
        interval(drawn.false_rejects_at(limit)),
    )

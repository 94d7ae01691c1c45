"""Shares of drawn defects that were found, with Wilson's intervals."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_Z = 1.959963984540054
"""The standard normal quantile of 97.5 %."""


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (E. B. Wilson, JASA 22, 1927)."""
    rate, extra = count / total, _Z**2 / total
    middle = (rate + extra / 2) / (1 + extra)
    half = _Z * math.sqrt(rate * (1 - rate) / total + extra / (4 * total)) / (1 + extra)
    return (0.0 if count == 0 else middle - half, 1.0 if count == total else middle + half)


@dataclass(frozen=True, slots=True)
class FoundRate:
    """The number of `drawn` defects, at least one, and how many of them were found."""

    found: int
    drawn: int

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> "FoundRate":
        """Count outcomes."""
        values = list(outcomes)
        return cls(int(sum(values)), len(values))

    @property
    def rate(self) -> float:
        """The share that was found."""
        return self.found / self.drawn

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(self.found, self.drawn)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and the interval as JSON values."""
        interval = [round(limit, 4) for limit in self.interval]
        return {"found": self.found, "drawn": self.drawn, "interval": interval}

"""Values of a manifest, which may come from a stranger: shown only if they have the right type."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MOST_TEXT = 300


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric from 0 to 1, with its interval if the manifest has one."""

    value: float
    low: float | None = None
    high: float | None = None


def measured(value: object, interval: object) -> Measured | None:
    """Return a share of one with its interval, or None."""
    number = share(value)
    if number is None:
        return None
    if isinstance(interval, list | tuple) and len(interval) == 2:
        low, high = map(share, interval)
        if low is not None and high is not None:
            return Measured(number, low, high)
    return Measured(number)


def mapping(value: object) -> Mapping[str, object]:
    """Return an object of JSON, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def number(value: object) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def share(value: object) -> float | None:
    """Return a number from 0 to 1, or None."""
    finite = number(value)
    return finite if finite is not None and 0 <= finite <= 1 else None


def whole(value: object) -> int | None:
    """Return a whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object) -> str:
    """Return a value of JSON as a short text; nothing for None."""
    return "" if value is None else str(value)[:MOST_TEXT]

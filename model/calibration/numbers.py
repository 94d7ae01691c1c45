"""Check the types and bounds of numbers in an untrusted calibration."""

import math
from collections.abc import Iterable

from model.errors import CalibrationError
from model.limits import LARGEST_NUMBER

_COUNTS = ("good_images", "folds")


def check_numbers(values: Iterable[tuple[str, object]]) -> None:
    """Raise `CalibrationError` for a value of another type or beyond the bounds."""
    for name, value in values:
        is_count = name in _COUNTS
        if isinstance(value, bool) or not isinstance(value, int if is_count else int | float):
            expected = "an integer" if is_count else "a number"
            raise CalibrationError(f"{name} must be {expected}, got {value!r:.100}")
        if not abs(value) <= LARGEST_NUMBER:
            raise CalibrationError(f"{name} must be finite and at most {LARGEST_NUMBER:g}")


def check_quantiles(quantiles: tuple[float, ...], count: int) -> None:
    """Raise `CalibrationError` unless there are `count` finite numbers in ascending order."""
    finite = all(map(math.isfinite, quantiles))
    if len(quantiles) != count or not finite or list(quantiles) != sorted(quantiles):
        raise CalibrationError(
            f"good_quantiles must be {count} finite numbers in ascending order, "
            f"got {quantiles!r:.500}"
        )

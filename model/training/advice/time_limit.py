"""The time that a self-check may take."""

import time
from collections.abc import Callable

LEAST_S = 60.0
MOST_S = 300.0
SHARE = 0.1
"""A self-check takes at most this share of the training's time, but it may take `LEAST_S`, and
never more than `MOST_S`."""


def allowed_s(training_s: float) -> float:
    """Return the seconds that a self-check may take after a training of `training_s`."""
    return min(MOST_S, max(LEAST_S, SHARE * training_s))


class TimeLimit:
    """A number of seconds from now on; `clock` returns seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left_s(self) -> float:
        """The seconds left, below 0 if they are over."""
        return self._ends - self._clock()

    def share(self, part: float) -> "TimeLimit":
        """Return a limit of this share of the seconds that are left."""
        return TimeLimit(part * max(0.0, self.left_s), self._clock)

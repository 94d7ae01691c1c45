"""Back-off with jitter, and a circuit breaker: how long a sink waits after failures."""

import random
import time
from collections.abc import Callable
from enum import StrEnum

_FAILURES_TO_OPEN = 5
_LONGEST_ASKED_S = 3600.0


class BreakerState(StrEnum):
    """CLOSED: parcels are sent. OPEN: none is. HALF_OPEN: one is tried."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after five failures in a row, or one that needs a person's help.

    breaker.failed()
    breaker.wait_s      # pause before the next try
    """

    def __init__(
        self,
        backoff_s: float,
        max_backoff_s: float,
        *,
        dice: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backoff_s = backoff_s
        self._max_backoff_s = max_backoff_s
        self._dice = dice
        self._clock = clock
        self._failures = 0
        self._is_open = False
        self._try_at = 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until the next try; 0 if it may be now."""
        return max(0.0, self._try_at - self._clock())

    @property
    def state(self) -> BreakerState:
        """The state now."""
        if not self._is_open:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.wait_s else BreakerState.HALF_OPEN

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def failed(self, retry_after_s: float | None = None, *, needs_help: bool = False) -> None:
        """Count a failure, and choose the pause: 50 to 100 % of a time that doubles."""
        self._failures += 1
        self._is_open = self._is_open or needs_help or self._failures >= _FAILURES_TO_OPEN
        doubled_s = self._backoff_s * 2.0 ** min(self._failures - 1, 30)
        longest_s = self._max_backoff_s if self._is_open else min(self._max_backoff_s, doubled_s)
        pause_s = longest_s * (0.5 + 0.5 * self._dice())
        asked_s = min(retry_after_s or 0.0, _LONGEST_ASKED_S)
        self._try_at = self._clock() + max(pause_s, asked_s)

    def succeeded(self) -> None:
        """Close after an acknowledgement."""
        self._failures, self._is_open, self._try_at = 0, False, 0.0

    def retry_now(self) -> None:
        """Allow the next try at once; one success closes an open breaker."""
        self._try_at = 0.0

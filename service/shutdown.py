"""The shutdown flag that all parts of the service share."""

import math
import time


class Shutdown:
    """Whether the service was told to stop; it still finishes the requests that it accepted."""

    def __init__(self) -> None:
        self._begun_at = math.inf

    @property
    def begun(self) -> bool:
        """Whether the service was told to stop."""
        return self.since_s >= 0

    @property
    def since_s(self) -> float:
        """Seconds since the shutdown began; minus infinity before it."""
        return time.monotonic() - self._begun_at

    def begin(self) -> None:
        """Begin the shutdown; a signal handler calls this, so it only stores the time."""
        self._begun_at = min(self._begun_at, time.monotonic())

"""The word that the service is leaving, for all who have to know."""

import math
import time


class Shutdown:
    """Whether the service has been told to stop; it still finishes what it took."""

    def __init__(self) -> None:
        self._begun_at = math.inf

    @property
    def begun(self) -> bool:
        """Whether it was told to."""
        return self.since_s >= 0

    @property
    def since_s(self) -> float:
        """How many seconds ago; minus infinity for never."""
        return time.monotonic() - self._begun_at

    def begin(self) -> None:
        """Tell everyone; only a time, since a signal handler does it."""
        self._begun_at = min(self._begun_at, time.monotonic())

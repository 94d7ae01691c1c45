"""The time by which ages are measured: a clock that jumps ahead must not empty the archive."""

import time
from datetime import UTC, datetime, timedelta

_TOLERANCE = timedelta(days=1)


class ClockJumped(Exception):
    """The clock went ahead of the time that has passed."""


class Calendar:
    """The system's clock, compared with the time that has passed since the start."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC) - self._since_boot()

    def now(self) -> datetime:
        """Return the time in UTC. Raises `ClockJumped` if it is a day or more ahead."""
        now = datetime.now(UTC)
        ahead = now - (self._start + self._since_boot())
        if ahead > _TOLERANCE:
            raise ClockJumped(
                f"the clock jumped ahead by {ahead.total_seconds() / 86_400:.1f} days, to "
                f"{now:%Y-%m-%d %H:%M}; nothing is deleted by age. If it is right now, restart the "
                "service; else set it"
            )
        return now

    @staticmethod
    def _since_boot() -> timedelta:
        clock = getattr(time, "CLOCK_BOOTTIME", None)  # counts while the machine sleeps
        return timedelta(seconds=time.clock_gettime(clock) if clock else time.monotonic())

"""How long the stages of an inspection took."""

import time
from dataclasses import replace

from model.errors import NonFiniteOutput
from model.inspection import Inspection


class Stopwatch:
    """Splits the time since it was made into named laps, in ms."""

    def __init__(self) -> None:
        self._laps_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End the stage of that name, which began when the one before ended."""
        now = time.perf_counter()
        self._laps_ms[name] = (now - self._last) * 1e3
        self._last = now

    def stamped(self, found: Inspection | NonFiniteOutput) -> Inspection | NonFiniteOutput:
        """Return an inspection with the laps as its timings."""
        if isinstance(found, NonFiniteOutput):
            return found
        return replace(found, timings_ms=dict(self._laps_ms))

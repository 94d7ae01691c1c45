"""The time of each stage of an inspection."""

import time
from dataclasses import replace

from model.errors import NonFiniteOutput
from model.inspection import Inspection


class Stopwatch:
    """Splits the time since its creation into named laps, in ms."""

    def __init__(self) -> None:
        self._laps_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End the named stage, which began when the previous one ended."""
        now = time.perf_counter()
        self._laps_ms[name] = (now - self._last) * 1e3
        self._last = now

    def stamped(self, result: Inspection | NonFiniteOutput) -> Inspection | NonFiniteOutput:
        """Return an inspection with the laps as its timings."""
        if isinstance(result, NonFiniteOutput):
            return result
        return replace(result, timings_ms=dict(self._laps_ms))

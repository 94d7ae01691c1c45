"""Refusals on their way to the disk; a flood of them is counted in one row.

    refusals.add(refusal, now)
    refusals.take(now)

Refusals are of one kind if they have the same category, station, problem and caller. In one second,
the first 20 of a kind are rows of their own: no line has more parts. All others of that second are
one row: the first of them, with `repeats`.
"""

from dataclasses import dataclass, replace

from service.archive.records import InspectionRecord

_WINDOW_S = 1.0
_ROWS_OF_WINDOW = 20
_MAX_READY = 1_000
_MAX_KINDS = 1_000

Kind = tuple[str, str | None, str | None, str]


@dataclass(slots=True)
class _Window:
    """One second of refusals of one kind, and those that are counted in one row."""

    ends: float
    rows: int = 0
    flood: InspectionRecord | None = None
    repeats: int = 0


class Refusals:
    """A bounded number of refusals; the caller's lock guards them. Times are in seconds."""

    def __init__(self) -> None:
        self._ready: list[InspectionRecord] = []
        self._windows: dict[Kind, _Window] = {}

    def add(self, refusal: InspectionRecord, now: float) -> bool:
        """Add a refusal; return False if there is no room for it."""
        self._end_windows(now)
        kind = (refusal.category, refusal.station, refusal.problem, refusal.caller)
        window = self._windows.get(kind)
        if window is None:
            if len(self._windows) >= _MAX_KINDS:
                return False
            window = self._windows[kind] = _Window(now + _WINDOW_S)
        if window.rows < _ROWS_OF_WINDOW:
            if len(self._ready) >= _MAX_READY:
                return False
            window.rows += 1
            self._ready.append(refusal)
        else:
            window.flood = window.flood or refusal
            window.repeats += refusal.repeats
        return True

    def take(self, now: float, *, everything: bool = False) -> list[InspectionRecord]:
        """Remove and return the refusals to write now; with `everything`, also open floods."""
        self._end_windows(float("inf") if everything else now)
        ready, self._ready = self._ready, []
        return ready

    def next_due(self) -> float | None:
        """Return when the next flood is to be written; None if there is none."""
        return min((window.ends for window in self._windows.values() if window.flood), default=None)

    def _end_windows(self, now: float) -> None:
        """Make the floods of ended windows ready; the oldest window is the first."""
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            if window.ends > now:
                break
            del self._windows[kind]
            if window.flood:
                self._ready.append(replace(window.flood, repeats=window.repeats))

"""The heartbeat of the PLC, which the station watches, and the station's."""

import math

from service.station.machine.images import PlcImage

_COUNTS = 2**16


class Heartbeats:
    """Both heartbeats are counters that change; `timeout_ms` 0 does not watch the PLC's."""

    def __init__(self, timeout_ms: float, period_ms: float) -> None:
        self._timeout_ms = timeout_ms
        self._period_ms = period_ms
        self._latest: int | None = None
        self._changed_at_ms = -math.inf

    def watch(self, inputs: PlcImage, now_ms: float) -> None:
        """Notice a change of the PLC's counter."""
        if self._latest is not None and inputs.heartbeat != self._latest:
            self._changed_at_ms = now_ms
        self._latest = inputs.heartbeat

    def is_alive(self, now_ms: float) -> bool:
        """Whether the PLC's counter has changed lately."""
        return not self._timeout_ms or now_ms < self._changed_at_ms + self._timeout_ms

    def count(self, now_ms: float) -> int:
        """Return the station's counter."""
        return int(now_ms // self._period_ms) % _COUNTS

    def changes_at_ms(self, now_ms: float) -> float:
        """Return when the station's counter or the judgement of the PLC's changes next."""
        ours = (now_ms // self._period_ms + 1) * self._period_ms
        is_watched = self._timeout_ms and self.is_alive(now_ms)
        return min(ours, self._changed_at_ms + self._timeout_ms) if is_watched else ours

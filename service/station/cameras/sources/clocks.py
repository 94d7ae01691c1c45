"""When a frame was taken, told by the clock of its driver or of its stream."""

import math
import time
from collections import deque

_WINDOW_S = 60.0
_SLICE_S = 5.0
_WARM_S = 1.0
_PLAUSIBLE_S = 10.0


class StreamClock:
    """Places the times of a stream's frames on this machine's monotonic clock.

    The frame that came fastest within the last minute tells how the two clocks differ; a frame that
    came slower waited in a buffer. In the first second after `start` no frame is trusted, because
    a server may begin with old ones.
    """

    def __init__(self) -> None:
        self.start(0.0)

    def start(self, now_s: float) -> None:
        """Forget the former connection."""
        self._started_s = now_s
        self._latest_s = -math.inf
        self._fastest: deque[tuple[float, float]] = deque()
        """For each slice of time: its beginning, and the smallest difference within it."""

    def taken_after(self, stream_s: float, arrived_s: float) -> float:
        """Return a frame's time; -inf if the stream does not tell."""
        advances = stream_s > self._latest_s
        self._latest_s = stream_s
        difference_s = arrived_s - stream_s
        if self._fastest and arrived_s - self._fastest[-1][0] < _SLICE_S:
            began_s, fastest_s = self._fastest[-1]
            self._fastest[-1] = (began_s, min(fastest_s, difference_s))
        else:
            self._fastest.append((arrived_s, difference_s))
        while arrived_s - self._fastest[0][0] > _WINDOW_S:
            self._fastest.popleft()
        if not advances or arrived_s - self._started_s < _WARM_S:
            return -math.inf
        return stream_s + min(fastest_s for _, fastest_s in self._fastest)


def driver_time(stamp_s: float) -> float | None:
    """Return a driver's time of a frame as monotonic time; None if it is on neither usual clock."""
    for clock, now_s in (("monotonic", time.monotonic()), ("wall", time.time())):
        age_s = now_s - stamp_s
        if 0 <= age_s < _PLAUSIBLE_S:
            return stamp_s if clock == "monotonic" else time.monotonic() - age_s
    return None

"""How many workers a cluster should have, by the age of its queues.

A worker is added while some image waits for longer than `queue_age_s` at two looks in a row, and
all workers are ready: another one starts for tens of seconds, which answers a new shift, not a
burst. One goes when all have been without a job for `idle_s`.
"""

from dataclasses import dataclass, field

_LOOKS = 2


@dataclass(slots=True)
class Scaler:
    """Decides at each look; times by any one clock."""

    fewest: int
    most: int
    queue_age_s: float
    idle_s: float
    _late_looks: int = field(default=0, init=False)
    _busy_at: float | None = field(default=None, init=False)

    def decide(
        self, present: int, *, all_ready: bool, oldest_s: float, jobs: int, now: float
    ) -> int:
        """Return how many workers there should be; `jobs` are those without an answer."""
        if jobs or self._busy_at is None or not all_ready:
            self._busy_at = now
        is_late = all_ready and oldest_s > self.queue_age_s
        self._late_looks = self._late_looks + 1 if is_late else 0
        if self._late_looks >= _LOOKS and present < self.most:
            self._late_looks = 0
            return present + 1
        if now - self._busy_at > self.idle_s and present > self.fewest:
            self._busy_at = now
            return present - 1
        return max(self.fewest, present)

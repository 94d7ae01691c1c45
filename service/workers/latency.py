"""Predicts how long batches take: a line for each checkpoint, updated by every batch.

    n  images in a batch        a  seconds per image        b  seconds per batch

A batch takes a n + b, so the throughput is n / (a n + b) images/s. It approaches 1 / a as n grows:
beyond some n, larger batches only take longer.

>>> round(fit_line({1: 0.75, 2: 1.0}).seconds(4), 6)
1.5
"""

import math
import time
from collections.abc import Mapping

from model.checkpoints.key import CheckpointKey
from service.workers.pipe.messages import LatencyLine, PriorLoad, Sharing

_MEMORY = 0.8
"""The weight of the earlier time in the running average."""

_FRESH_S = 5.0
_SMALLEST_S = 1e-6


class Latencies:
    """The times of each checkpoint's batches on one worker, and the batch size that pays.

    A batch should reach the share `efficiency` of the highest throughput. `sharing` is measured
    when a checkpoint loads.
    """

    def __init__(self, max_batch_size: int, efficiency: float) -> None:
        self._max_batch_size = max_batch_size
        self._efficiency = efficiency
        self._seconds: dict[CheckpointKey, dict[int, float]] = {}
        self._lines: dict[CheckpointKey, LatencyLine] = {}
        self._fitting: dict[CheckpointKey, int] = {}
        self._measured_at: dict[CheckpointKey, float] = {}
        self.sharing: dict[CheckpointKey, Sharing] = {}

    def learn(self, key: CheckpointKey, seconds: Mapping[int, float]) -> None:
        """Replace all times by those of a warm-up, by batch size."""
        if seconds:
            self._seconds[key] = dict(seconds)
            self._lines[key] = fit_line(seconds)
            self._measured_at[key] = time.monotonic()

    def record(self, key: CheckpointKey, images: int, seconds: float) -> None:
        """Update the times with those of a batch."""
        averages = self._seconds.setdefault(key, {})
        before = averages.get(images, seconds)
        # A batch can be delayed, but not sped up: an average of over twice the time was delayed.
        was_delayed = seconds < before / 2
        averages[images] = seconds if was_delayed else _MEMORY * before + (1 - _MEMORY) * seconds
        self._lines[key] = fit_line(averages)
        self._measured_at[key] = time.monotonic()

    def remember_limit(self, key: CheckpointKey, images: int) -> None:
        """Remember the largest batch that fits into the device's memory."""
        self._fitting[key] = min(images, self._fitting.get(key, images))

    def line(self, key: CheckpointKey) -> LatencyLine | None:
        """Return the line; None before the first measurement."""
        return self._lines.get(key)

    def prior(self, key: CheckpointKey) -> PriorLoad:
        """Return the results that loading the checkpoint again need not measure."""
        return PriorLoad(self.limit(key), self.sharing.get(key, Sharing.ALWAYS))

    def is_fresh(self, key: CheckpointKey) -> bool:
        """Whether the line is recent enough to refuse work by it."""
        return time.monotonic() - self._measured_at.get(key, -math.inf) < _FRESH_S

    def limit(self, key: CheckpointKey) -> int:
        """Return the smallest efficient batch size, within the setting and the memory."""
        most = min(self._max_batch_size, self._fitting.get(key, self._max_batch_size))
        line = self._lines.get(key)
        if line is None or self._efficiency >= 1 or line.a_s <= _SMALLEST_S:
            return most
        # n / (a n + b) >= e / a  <=>  n >= e b / ((1 - e) a)
        enough = self._efficiency * line.b_s / ((1 - self._efficiency) * line.a_s)
        return min(most, max(1, math.ceil(enough - 1e-9)))

    def seconds(self, key: CheckpointKey, images: int) -> float:
        """Return the expected seconds of so many images; 0 before the first measurement."""
        line = self._lines.get(key)
        if line is None:
            return 0.0
        batches = math.ceil(images / self.limit(key))
        return line.a_s * images + line.b_s * batches


def fit_line(seconds: Mapping[int, float]) -> LatencyLine:
    """Fit a line to times by batch size: least squares of relative errors, with a, b >= 0.

    For a single size, b is 0.
    """
    points = [(n, s, 1 / max(s, _SMALLEST_S) ** 2) for n, s in seconds.items()]
    weight = sum(w for _, _, w in points)
    mean_n = sum(w * n for n, _, w in points) / weight
    mean_s = sum(w * s for _, s, w in points) / weight
    spread = sum(w * (n - mean_n) ** 2 for n, _, w in points)
    if spread <= 0:
        return LatencyLine(mean_s / mean_n, 0.0)
    slope = sum(w * (n - mean_n) * (s - mean_s) for n, s, w in points) / spread
    base = mean_s - slope * mean_n
    if slope < 0:
        return LatencyLine(0.0, mean_s)
    if base < 0:
        through_origin = sum(w * n * s for n, s, w in points)
        return LatencyLine(through_origin / sum(w * n * n for n, _, w in points), 0.0)
    return LatencyLine(slope, base)

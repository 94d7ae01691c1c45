"""How long batches take: a line for each checkpoint, measured at warm-up and kept up to date.

    n  images in a batch        a  seconds for each of them        b  seconds for the batch

A batch takes a n + b, so that n / (a n + b) images a second go through. That comes close to 1 / a
as n grows; beyond some n, larger batches only take longer.
"""

import math
import time
from collections.abc import Mapping

from model.checkpoints.key import CheckpointKey
from service.workers.pipe.messages import Known, LatencyLine, Sharing

_MEMORY = 0.8
"""How much of a known time a new one leaves standing."""

_FRESH_S = 5.0
_SMALLEST_S = 1e-6


class Latencies:
    """What batches of each checkpoint took on one worker, and so how large they should be.

    `efficiency` is the share of the highest throughput that a batch has to reach; `sharing` what
    loading each checkpoint found out.
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
        """Take what warming up measured, by size of batch, in place of what was known."""
        if seconds:
            self._seconds[key] = dict(seconds)
            self._lines[key] = fit_line(seconds)
            self._measured_at[key] = time.monotonic()

    def record(self, key: CheckpointKey, images: int, seconds: float) -> None:
        """Take note of a batch."""
        known = self._seconds.setdefault(key, {})
        before = known.get(images, seconds)
        # Much can hold a batch up, and nothing speeds it up: what was far slower was held up.
        held_up = seconds < before / 2
        known[images] = seconds if held_up else _MEMORY * before + (1 - _MEMORY) * seconds
        self._lines[key] = fit_line(known)
        self._measured_at[key] = time.monotonic()

    def remember_limit(self, key: CheckpointKey, images: int) -> None:
        """No larger batch than this fits into the device's memory."""
        self._fitting[key] = min(images, self._fitting.get(key, images))

    def line(self, key: CheckpointKey) -> LatencyLine | None:
        """Return the line, None before anything was measured."""
        return self._lines.get(key)

    def known(self, key: CheckpointKey) -> Known:
        """Return what loading the checkpoint again need not measure."""
        return Known(self.limit(key), self.sharing.get(key, Sharing.ALWAYS))

    def is_fresh(self, key: CheckpointKey) -> bool:
        """Whether the line was measured so lately that work may be refused by it."""
        return time.monotonic() - self._measured_at.get(key, -math.inf) < _FRESH_S

    def limit(self, key: CheckpointKey) -> int:
        """Return the smallest batch that is efficient, within what is allowed and fits."""
        most = min(self._max_batch_size, self._fitting.get(key, self._max_batch_size))
        line = self._lines.get(key)
        if line is None or self._efficiency >= 1 or line.a_s <= _SMALLEST_S:
            return most
        # n / (a n + b) >= e / a  <=>  n >= e b / ((1 - e) a)
        enough = self._efficiency * line.b_s / ((1 - self._efficiency) * line.a_s)
        return min(most, max(1, math.ceil(enough - 1e-9)))

    def seconds(self, key: CheckpointKey, images: int) -> float:
        """Estimate how long so many images take, in batches; 0 before anything was measured."""
        line = self._lines.get(key)
        if line is None:
            return 0.0
        batches = math.ceil(images / self.limit(key))
        return line.a_s * images + line.b_s * batches


def fit_line(seconds: Mapping[int, float]) -> LatencyLine:
    """Fit a line to times by size of batch: least squares of the relative errors, both parts >= 0.

    Of a single size nothing tells the two parts apart: the time is taken to grow with the images.
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

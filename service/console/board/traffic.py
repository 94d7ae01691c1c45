"""The last minutes by the service's own metrics: latency, UNDECIDED, refusals, busy workers.

traffic = Traffic(metrics)
traffic.note()              # every `EVERY_S` seconds
traffic.recent().p95_s
"""

import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.metrics import MetricWrapperBase

from model.inspection import Decision
from service.telemetry.metrics import Metrics

_SAMPLES = 31


@dataclass(frozen=True, slots=True)
class Recent:
    """What happened in the last `seconds`; times and shares are None without parts."""

    seconds: float
    images: int
    p50_s: float | None
    p95_s: float | None
    undecided: float | None
    refused: Mapping[str, int]
    busy: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    buckets: Counter[float]
    decisions: Counter[str]
    refused: Counter[str]
    compute_s: Mapping[str, float]


class Traffic:
    """Samples of cumulative metrics over five minutes; belongs to the event loop."""

    EVERY_S = 10.0

    def __init__(self, metrics: Metrics) -> None:
        self.started_at = datetime.now(UTC)
        self._metrics = metrics
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)

    def note(self) -> None:
        """Remember the metrics as of now."""
        self._samples.append(_sample(self._metrics))

    def recent(self) -> Recent:
        """Return what happened since the oldest sample."""
        now = _sample(self._metrics)
        first = self._samples[0] if self._samples else now
        # Subtraction of counters would drop the empty buckets, which bound the others.
        buckets = {bound: count - first.buckets[bound] for bound, count in now.buckets.items()}
        decisions = now.decisions - first.decisions
        parts, seconds = decisions.total(), now.at_s - first.at_s
        busy = {
            worker: min(1.0, (total - first.compute_s.get(worker, 0.0)) / seconds)
            for worker, total in now.compute_s.items()
            if seconds > 0
        }
        return Recent(
            seconds=seconds,
            images=buckets.get(math.inf, 0),
            p50_s=_quantile(buckets, 0.5),
            p95_s=_quantile(buckets, 0.95),
            undecided=decisions[Decision.UNDECIDED.value] / parts if parts else None,
            refused=dict((now.refused - first.refused).most_common()),
            busy=busy,
        )


def values_of(
    metric: MetricWrapperBase, suffix: str = ""
) -> Iterator[tuple[Mapping[str, str], float]]:
    """Yield the labels and value of each series of a metric, with a name that ends like this."""
    for family in metric.collect():
        for sample in family.samples:
            if sample.name == family.name + suffix:
                yield sample.labels, sample.value


def _sample(metrics: Metrics) -> _Sample:
    buckets, decisions, refused = Counter[float](), Counter[str](), Counter[str]()
    for labels, value in values_of(metrics.stage_seconds, "_bucket"):
        if labels["stage"] == "total":
            buckets[float(labels["le"])] += int(value)
    for labels, value in values_of(metrics.decisions, "_total"):
        decisions[labels["decision"]] += int(value)
    for labels, value in values_of(metrics.rejected, "_total"):
        refused[labels["reason"]] += int(value)
    compute_s = {
        labels["worker"]: value for labels, value in values_of(metrics.compute_seconds, "_total")
    }
    return _Sample(time.monotonic(), buckets, decisions, refused, compute_s)


def _quantile(buckets: Mapping[float, int], share: float) -> float | None:
    """Return a quantile of cumulative buckets, as Prometheus interpolates it; None if empty.

    >>> _quantile({1.0: 5, 2.0: 10, math.inf: 10}, 0.75)
    1.5
    """
    total = max(buckets.values(), default=0)
    rank, low, below = share * total, 0.0, 0
    for bound, count in sorted(buckets.items()):
        if total and count >= rank and count > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return None

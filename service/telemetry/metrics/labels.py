"""Label values and buckets that several metrics share."""

from collections.abc import Iterable
from itertools import product

from prometheus_client import Counter, Histogram

OTHER = "other"

SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class BoundedLabel:
    """The first `limit` different values stand for themselves, all later ones are `other`.

    Every label value is a time series that is never forgotten: for names that someone outside the
    code chooses, such as those of API keys.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the value to label with."""
        if value not in self._seen and len(self._seen) >= self._limit:
            return OTHER
        self._seen.add(value)
        return value


def from_zero(metric: Counter | Histogram, *values: Iterable[str]) -> None:
    """Export a series for every combination of label values, at 0 until something is counted.

    Prometheus sees a counter rise only from a value that it has scraped: where a series begins
    with the first event, `rate` and `increase` miss that event and all that come with it.
    """
    for labels in product(*values):
        metric.labels(*labels)

"""Label values and buckets that several metrics share."""

from collections.abc import Iterable
from itertools import product

from prometheus_client import Counter, Histogram

OTHER = "other"

SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class BoundedLabel:
    """Keeps the first `limit` different values and maps all later ones to `other`.

    Prometheus clients keep a series for every label value, so names chosen outside the code, such
    as those of API keys, need a limit.

    >>> label = BoundedLabel(limit=1)
    >>> label("line-1"), label("line-2"), label("line-1")
    ('line-1', 'other', 'line-1')
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
    """Export a series at 0 for every combination of label values.

    A series that starts with its first event hides that event from `rate` and `increase`.
    """
    for labels in product(*values):
        metric.labels(*labels)

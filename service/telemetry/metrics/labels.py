"""Label values and buckets that several metrics share."""

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

"""Every Prometheus metric of the service, declared once."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SCORES = tuple(step / 20 for step in range(1, 21))
_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


class Metrics:
    """The service's metrics in one registry.

    Label values are bounded: `route` is a route's template, `category` and `model` come from the
    checkpoint store, `worker` from the settings, and the rest are words from the code.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        self._declare_traffic()
        self._declare_inspection()
        self._declare_workers()

    def _declare_traffic(self) -> None:
        self.requests = Counter(
            "mambaad_requests_total",
            "HTTP requests by route and status code.",
            ("route", "code"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "mambaad_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.image_errors = Counter(
            "mambaad_image_errors_total",
            "Images that were not inspected, by kind of problem.",
            ("problem",),
            registry=self.registry,
        )

    def _declare_inspection(self) -> None:
        self.stage_seconds = Histogram(
            "mambaad_stage_duration_seconds",
            "Time that an image spent in each stage; network stages are those of its batch.",
            ("stage", "category"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "mambaad_decisions_total",
            "Parts inspected, by decision (OK or NG).",
            ("category", "decision"),
            registry=self.registry,
        )
        self.scores = Histogram(
            "mambaad_score",
            "Scores of inspected parts from 0 to 1; the threshold is at 0.5.",
            ("category",),
            buckets=_SCORES,
            registry=self.registry,
        )
        self.category_info = Gauge(
            "mambaad_category_info",
            "1 for each category that is served, with its checkpoint.",
            ("category", "model", "version"),
            registry=self.registry,
        )
        self.checkpoints_refused = Gauge(
            "mambaad_checkpoints_refused",
            "Checkpoints in the store that cannot be served.",
            registry=self.registry,
        )

    def _declare_workers(self) -> None:
        self.batch_size = Histogram(
            "mambaad_batch_size",
            "Images per batch.",
            ("worker",),
            buckets=_BATCH,
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "mambaad_queue_depth",
            "Images waiting for a worker.",
            ("worker",),
            registry=self.registry,
        )
        self.queue_capacity = Gauge(
            "mambaad_queue_capacity",
            "Images that may wait for a worker.",
            ("worker",),
            registry=self.registry,
        )
        self.dropped = Counter(
            "mambaad_jobs_dropped_total",
            "Images dropped before a worker computed them (cancelled or expired).",
            ("worker", "reason"),
            registry=self.registry,
        )
        self.worker_up = Gauge(
            "mambaad_worker_up",
            "1 while the worker is ready to inspect.",
            ("worker",),
            registry=self.registry,
        )
        self.worker_restarts = Counter(
            "mambaad_worker_restarts_total",
            "Times that the worker died, or failed to start, and was started again.",
            ("worker",),
            registry=self.registry,
        )

    def names(self) -> Iterator[str]:
        """Yield the name of every time series, as a query would write it."""
        for family in self.registry.collect():
            for suffix in _SUFFIXES[family.type]:
                yield family.name + suffix

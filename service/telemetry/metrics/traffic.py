"""What clients see: requests, refusals, failures."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.metrics.labels import SECONDS, BoundedLabel

_MAX_KEYS = 64


class TrafficMetrics:
    """Requests and what was answered to them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.key_label = BoundedLabel(_MAX_KEYS)
        self.build_info = Gauge(
            "mambaad_build_info",
            "1, with the versions that run.",
            ("version", "python", "torch"),
            registry=registry,
        )
        self.ready = Gauge(
            "mambaad_ready",
            "1 while /readyz answers 200.",
            registry=registry,
        )
        self._declare_requests(registry)
        self._declare_refusals(registry)

    def _declare_requests(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "mambaad_requests_total",
            "HTTP requests by route and status code.",
            ("route", "code"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "mambaad_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.requests_in_progress = Gauge(
            "mambaad_requests_in_progress",
            "HTTP requests that are being answered.",
            registry=registry,
        )
        self.idempotent_answers = Counter(
            "mambaad_idempotent_answers_total",
            "Requests with an Idempotency-Key, by what became of them "
            "(computed, replayed or conflict).",
            ("outcome",),
            registry=registry,
        )

    def _declare_refusals(self, registry: CollectorRegistry) -> None:
        self.rejected = Counter(
            "mambaad_requests_rejected_total",
            "Requests answered with a problem instead of a result, by its kind (queue-full, ...).",
            ("reason",),
            registry=registry,
        )
        self.image_errors = Counter(
            "mambaad_image_errors_total",
            "Images that were not inspected, by kind of problem.",
            ("problem",),
            registry=registry,
        )
        self.rate_limited = Counter(
            "mambaad_rate_limited_total",
            "Requests refused for their number, by the name of the API key.",
            ("key",),
            registry=registry,
        )
        self.unauthorized = Counter(
            "mambaad_unauthorized_total",
            "Requests refused for their API key, by reason (missing, unknown or scope).",
            ("reason",),
            registry=registry,
        )
        self.keys_file_unread = Gauge(
            "mambaad_keys_file_unread_seconds",
            "Seconds for which the keys file could not be read; 0 while it can.",
            registry=registry,
        )
        self.connections_cut = Counter(
            "mambaad_connections_cut_total",
            "Connections that the service ended, by reason (slow-reader, "
            "too-many-connections, or the kind of problem).",
            ("reason",),
            registry=registry,
        )

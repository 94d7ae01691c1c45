"""Metrics of HTTP traffic: requests, refusals, failures."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service import errors
from service.problem_types import INTERNAL, PROBLEM_TYPES
from service.telemetry.metrics.labels import SECONDS, BoundedLabel, from_zero

ANONYMOUS = "anonymous"
"""The label `key` of callers without a key."""

_MAX_KEYS = 64
_HTTP_REFUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_CUT_FOR = (
    errors.BodyTooSlow,
    errors.HeadersTooLarge,
    errors.HeadersTooSlow,
    errors.MalformedRequest,
    errors.TooManyConnections,
)


class TrafficMetrics:
    """Requests and their answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.key_label = BoundedLabel(_MAX_KEYS)
        self.build_info = Gauge(
            "mambaad_build_info",
            "1, with the running versions as labels.",
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

    def expect_routes(self, codes: Mapping[str, Iterable[int]]) -> None:
        """Export each route's likely status codes at 0; `codes` maps route templates to them."""
        for route, statuses in codes.items():
            from_zero(self.requests, [route], map(str, statuses))
            from_zero(self.request_seconds, [route])

    def expect_keys(self, names: Iterable[str]) -> None:
        """Export each key's rate refusals at 0."""
        from_zero(self.rate_limited, map(self.key_label, names))

    def _declare_requests(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "mambaad_requests_total",
            "HTTP requests by route and status code.",
            ("route", "code"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "mambaad_request_duration_seconds",
            "Time from a request's first byte to the last byte of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.requests_in_progress = Gauge(
            "mambaad_requests_in_progress",
            "HTTP requests being answered now.",
            registry=registry,
        )
        self.idempotent_answers = Counter(
            "mambaad_idempotent_answers_total",
            "Requests with an Idempotency-Key, by outcome (computed, replayed or conflict).",
            ("outcome",),
            registry=registry,
        )
        from_zero(self.idempotent_answers, ("computed", "replayed", "conflict"))

    def _declare_refusals(self, registry: CollectorRegistry) -> None:
        self.rejected = Counter(
            "mambaad_requests_rejected_total",
            "Requests answered with a problem instead of a result, by problem (queue-full, ...).",
            ("reason",),
            registry=registry,
        )
        self.image_errors = Counter(
            "mambaad_image_errors_total",
            "Images that were not inspected, by problem.",
            ("problem",),
            registry=registry,
        )
        self.rate_limited = Counter(
            "mambaad_rate_limited_total",
            "Requests refused because of their rate, by API key name.",
            ("key",),
            registry=registry,
        )
        self.unauthorized = Counter(
            "mambaad_unauthorized_total",
            "Requests refused because of their API key, by reason (missing, unknown or scope).",
            ("reason",),
            registry=registry,
        )
        self.keys_file_unread = Gauge(
            "mambaad_keys_file_unread_seconds",
            "Seconds since the keys file became unreadable; 0 while it is readable.",
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "mambaad_tls_certificate_expiry_timestamp_seconds",
            "When the service's certificate expires, in seconds since 1970; 0 without TLS.",
            registry=registry,
        )
        self.connections_cut = Counter(
            "mambaad_connections_cut_total",
            "Connections that the service closed, by reason (slow-reader, "
            "too-many-connections, tls-handshake, or the problem).",
            ("reason",),
            registry=registry,
        )
        self._count_refusals_from_zero()

    def _count_refusals_from_zero(self) -> None:
        slugs = [kind.slug for kind in (INTERNAL, *PROBLEM_TYPES.values())]
        from_zero(self.rejected, (*slugs, *(f"http-{status}" for status in _HTTP_REFUSES)))
        from_zero(self.image_errors, slugs)
        from_zero(self.unauthorized, ("missing", "unknown", "scope"))
        cut_for = (PROBLEM_TYPES[error].slug for error in _CUT_FOR)
        from_zero(self.connections_cut, ("slow-reader", "tls-handshake", *cut_for))
        self.expect_keys([ANONYMOUS])

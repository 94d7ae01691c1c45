"""Metrics of the sinks that results are delivered to."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.telemetry.metrics.labels import from_zero


class DeliveryMetrics:
    """What waits for each sink, what was delivered, and what failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.delivery_depth = Gauge(
            "mambaad_delivery_depth",
            "Events of the journal that a sink has not yet taken.",
            ("sink",),
            registry=registry,
        )
        self.delivery_oldest_age = Gauge(
            "mambaad_delivery_oldest_age_seconds",
            "Age of the oldest event that a sink has not yet taken; 0 if it has taken all.",
            ("sink",),
            registry=registry,
        )
        self.delivery_breaker_open = Gauge(
            "mambaad_delivery_breaker_open",
            "1 while a sink is held: its receiver failed five times in a row, or needs help.",
            ("sink",),
            registry=registry,
        )
        self.delivered = Counter(
            "mambaad_delivered_total",
            "Events that a sink's receiver acknowledged.",
            ("sink",),
            registry=registry,
        )
        self.delivery_failures = Counter(
            "mambaad_delivery_failures_total",
            "Deliveries that failed, by reason (unreachable, silent, denied, busy, not-ready, "
            "broken; refused: a dead letter).",
            ("sink", "reason"),
            registry=registry,
        )
        self._declare_dead_letters(registry)

    def _declare_dead_letters(self, registry: CollectorRegistry) -> None:
        self.dead_letters = Gauge(
            "mambaad_dead_letters",
            "Events that a sink's receiver can never take.",
            ("sink",),
            registry=registry,
        )
        self.dead_letters_dropped = Counter(
            "mambaad_dead_letters_dropped_total",
            "Dead letters forgotten because a sink had too many.",
            ("sink",),
            registry=registry,
        )

    def expect_sink(self, sink: str, reasons: Iterable[str]) -> None:
        """Export a sink's series at 0."""
        from_zero(self.delivered, [sink])
        from_zero(self.delivery_failures, [sink], reasons)
        from_zero(self.dead_letters_dropped, [sink])
        self.dead_letters.labels(sink).set(0)

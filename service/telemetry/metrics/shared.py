"""Metrics of the state that nodes share."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SharedMetrics:
    """The state of the PostgreSQL, as this node follows it; all 0 without one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.state_version = Gauge(
            "mambaad_state_version",
            "Version of the shared state that this node serves by.",
            registry=registry,
        )
        self.state_contact_age = Gauge(
            "mambaad_state_contact_age_seconds",
            "Seconds since the PostgreSQL of the shared state last answered.",
            registry=registry,
        )
        self.state_held = Gauge(
            "mambaad_state_held",
            "1 while this node does not apply the state of the PostgreSQL: it is older than the "
            "node's last one, of another history, or routes to a version that cannot serve here.",
            registry=registry,
        )
        self.state_changes_refused = Counter(
            "mambaad_state_changes_refused_total",
            "Changes refused because the PostgreSQL of the shared state could not be used.",
            registry=registry,
        )

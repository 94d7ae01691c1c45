"""Metrics of checkpoints: loads, memory, routes, shadows."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from model.checkpoints.key import CheckpointKey
from service.telemetry.metrics.labels import from_zero

_DIFFERENCES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class ModelMetrics:
    """Checkpoints in memory and in use."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._declare_routes(registry)
        self._declare_loads(registry)
        self._declare_shadows(registry)

    def expect_route(self, category: str, checkpoint: CheckpointKey, role: str) -> None:
        """Export the series of a category's route at 0."""
        from_zero(self.routed, [category], [checkpoint.name], [checkpoint.version], [role])
        from_zero(self.changes, [category], ("route", "threshold"))

    def expect_shadow(self, category: str) -> None:
        """Export the series of a category's shadow at 0."""
        from_zero(self.shadowed, [category], ("agrees", "differs", "failed", "left out"))
        from_zero(self.shadow_difference, [category])

    def expect_loads(self, worker: str, checkpoints: Iterable[CheckpointKey]) -> None:
        """Export the series of a worker's loads and evictions at 0."""
        from_zero(self.model_evictions, [worker])
        for key in checkpoints:
            outcomes = ("loaded", "failed")
            from_zero(self.model_loads, [worker], [key.name], [key.version], outcomes)

    def _declare_routes(self, registry: CollectorRegistry) -> None:
        self.category_info = Gauge(
            "mambaad_category_info",
            "1 for each served category, with its checkpoint.",
            ("category", "model", "version"),
            registry=registry,
        )
        self.checkpoints_refused = Gauge(
            "mambaad_checkpoints_refused",
            "Checkpoints in the store that cannot be served.",
            registry=registry,
        )
        self.routed = Counter(
            "mambaad_routed_total",
            "Images by checkpoint and role (stable or canary).",
            ("category", "model", "version", "role"),
            registry=registry,
        )

        self.changes = Counter(
            "mambaad_deployment_changes_total",
            "Changes of a category's route or threshold; the audit log lists each.",
            ("category", "action"),
            registry=registry,
        )

    def _declare_loads(self, registry: CollectorRegistry) -> None:
        labels = ("worker", "model", "version")
        self.model_loads = Counter(
            "mambaad_model_loads_total",
            "Checkpoints loaded by a worker, by outcome (loaded or failed).",
            (*labels, "outcome"),
            registry=registry,
        )
        self.model_load_seconds = Gauge(
            "mambaad_model_load_duration_seconds",
            "Duration of the latest load: reading, verifying, warming up.",
            labels,
            registry=registry,
        )
        self.model_bytes = Gauge(
            "mambaad_model_memory_bytes",
            "Memory of each checkpoint that a worker has loaded; the series ends when it unloads.",
            labels,
            registry=registry,
        )
        self.weights_bytes = Gauge(
            "mambaad_weights_memory_bytes",
            "Memory of all weights that a worker has loaded; a shared encoder counts once.",
            ("worker",),
            registry=registry,
        )
        self.model_evictions = Counter(
            "mambaad_model_evictions_total",
            "Checkpoints that a worker unloaded to make room for others.",
            ("worker",),
            registry=registry,
        )

    def _declare_shadows(self, registry: CollectorRegistry) -> None:
        self.shadowed = Counter(
            "mambaad_shadow_inspections_total",
            "Parts that a shadow checkpoint scored in addition to the serving one, by outcome "
            "(agrees, differs, failed, or left out for lack of time).",
            ("category", "outcome"),
            registry=registry,
        )
        self.shadow_difference = Histogram(
            "mambaad_shadow_score_difference",
            "Absolute difference between the shadow's score and the answer's, both from 0 to 1.",
            ("category",),
            buckets=_DIFFERENCES,
            registry=registry,
        )

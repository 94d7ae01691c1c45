"""Metrics of inspected parts: stages, decisions, scores, drift."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from model.inspection import Decision
from service.telemetry.metrics.labels import SECONDS, from_zero

_STAGES = ("decode", "preprocess", "queue", "decision", "heatmap", "total")
"""The stages that every network has; others appear with the first image."""

_SCORES = tuple(step / 20 for step in range(1, 21))
_MARGINS = (
    -3.0, -2.0, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, -0.1, 0.0,
    0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0,
)  # fmt: skip


class InspectionMetrics:
    """Stages, decisions, scores and drift of each category."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._declare_inspections(registry)
        self._declare_scores(registry)
        self._declare_drift(registry)

    def expect_category(self, category: str) -> None:
        """Export a category's series at 0."""
        from_zero(self.decisions, [category], Decision)
        from_zero(self.stage_seconds, _STAGES, [category])
        from_zero(self.scores, [category])
        from_zero(self.score_margin, [category])

    def _declare_inspections(self, registry: CollectorRegistry) -> None:
        self.stage_seconds = Histogram(
            "mambaad_stage_duration_seconds",
            "Time that an image spent in each stage; network stages are timed per batch.",
            ("stage", "category"),
            buckets=SECONDS,
            registry=registry,
        )
        self.decisions = Counter(
            "mambaad_decisions_total",
            "Parts by decision (OK, NG, REVIEW, or UNDECIDED without a result).",
            ("category", "decision"),
            registry=registry,
        )

        self.observer_errors = Counter(
            "mambaad_observer_errors_total",
            "Inspected images for which an observer (metrics, drift, log, tracing, shadow) failed.",
            ("observer",),
            registry=registry,
        )

        self.decode_children_ended = Counter(
            "mambaad_decode_children_ended_total",
            "Decode processes that ended while decoding an image, by reason "
            "(killed: time limit reached or client left; died).",
            ("reason",),
            registry=registry,
        )
        for reason in ("killed", "died"):
            self.decode_children_ended.labels(reason)

    def _declare_scores(self, registry: CollectorRegistry) -> None:
        self.scores = Histogram(
            "mambaad_score",
            "Scores of inspected parts from 0 to 1; the threshold is at 0.5.",
            ("category",),
            buckets=_SCORES,
            registry=registry,
        )
        self.score_margin = Histogram(
            "mambaad_score_margin_ratio",
            "Scaled raw score: 0 at the threshold, -1 at the median good part of the calibration.",
            ("category",),
            buckets=_MARGINS,
            registry=registry,
        )
        self.threshold = Gauge(
            "mambaad_threshold",
            "Raw score above which a part is NG (kind image) or REVIEW (kind review).",
            ("category", "kind"),
            registry=registry,
        )

    def _declare_drift(self, registry: CollectorRegistry) -> None:
        labels = ("category", "model", "version")
        self.drift_window = Gauge(
            "mambaad_drift_window_parts",
            "Latest parts used to compute the drift of a category and checkpoint.",
            labels,
            registry=registry,
        )
        self.drift_psi = Gauge(
            "mambaad_score_psi_ratio",
            "Population stability index: scores up to the threshold compared with held-out good "
            "parts; below 0.1 stable, above 0.25 shifted.",
            labels,
            registry=registry,
        )
        self.over_threshold = Gauge(
            "mambaad_over_threshold_ratio",
            "Fraction of the latest parts with a score above the threshold.",
            labels,
            registry=registry,
        )
        self.drift_alarm = Gauge(
            "mambaad_drift_alarm",
            "1 while a category's scores differ from its calibration, by reason (shape: their "
            "distribution; share: too many above the threshold).",
            (*labels, "reason"),
            registry=registry,
        )

"""What is kept of every image: metrics, its score for drift, a place in the request's log line."""

import logging
from collections.abc import Mapping

from model.inspection import Category
from service.channel import Finding
from service.drift import DriftMonitor
from service.errors import ServiceError
from service.logs import note_image
from service.metrics import Metrics
from service.problem_types import INTERNAL, PROBLEM_TYPES
from service.registry import Route

logger = logging.getLogger("service.record")

_UNDECIDED = "UNDECIDED"


class Record:
    """Writes down what became of images."""

    def __init__(self, metrics: Metrics, drift: DriftMonitor) -> None:
        self._metrics = metrics
        self._drift = drift
        for kind in (INTERNAL, *PROBLEM_TYPES.values()):  # from 0 on, or the first would be missed
            metrics.image_errors.labels(kind.slug)

    def inspected(
        self,
        route: Route,
        finding: Finding,
        timings_ms: Mapping[str, float],
        part_id: str | None = None,
    ) -> None:
        """Note an image with a decision; `route` is the one that it was decided by."""
        category, calibration = route.category, route.calibration
        for stage, milliseconds in timings_ms.items():
            self._metrics.stage_seconds.labels(stage, category).observe(milliseconds / 1000)
        name, version = route.checkpoint.name, route.checkpoint.version
        self._metrics.routed.labels(category, name, version, route.role.value).inc()
        decision = finding.decision.value
        self._metrics.decisions.labels(category, decision).inc()
        self._metrics.scores.labels(category).observe(finding.score)
        margin = (finding.raw_score - finding.threshold) / calibration.image_scale
        self._metrics.score_margin.labels(category).observe(margin)
        self._drift.note(category, route.checkpoint, calibration, finding.raw_score)
        score = round(finding.score, 6)
        model = str(route.checkpoint)
        part = {} if part_id is None else {"part_id": part_id}
        note_image(**part, category=category, model=model, decision=decision, score=score)

    def failed(self, category: Category, error: Exception, part_id: str | None = None) -> None:
        """Note an image without a decision, and log what no client is told."""
        problem = INTERNAL
        if isinstance(error, ServiceError):
            problem = PROBLEM_TYPES[type(error)]
        else:
            logger.error("inspecting an image of %s failed", category, exc_info=error)
        self._metrics.image_errors.labels(problem.slug).inc()
        self._metrics.decisions.labels(category, _UNDECIDED).inc()
        part = {} if part_id is None else {"part_id": part_id}
        note_image(**part, category=category, decision=_UNDECIDED, problem=problem.slug)

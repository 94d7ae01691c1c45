"""Who is told how each inspection ended: metrics, the score's drift, the log, traces, the shadow.

    observers = Observers([MetricsObserver(metrics), LogObserver()], metrics)

A further one is written as these are, and put into the list in `app`.
"""

import logging
from collections.abc import Iterable
from typing import Protocol

from service.errors import InspectionFailed, ServiceError
from service.inspection.images.preparing import Prepared
from service.inspection.options import PartFields
from service.inspection.result import Inspected
from service.problem_types import INTERNAL, PROBLEM_TYPES
from service.telemetry.logs import note_image
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing
from service.versions.registry import Route

logger = logging.getLogger("service.record")

_UNDECIDED = "UNDECIDED"


class Observer(Protocol):
    """Is told how the inspection of every image ended, before its answer is written.

    A part whose inspection a `required` observer could not take note of is UNDECIDED. A failure of
    any other is logged and counted, and the answer goes on. The answer waits for them: what takes
    long belongs into a task of its own.
    """

    name: str
    required: bool = False

    async def inspected(self, inspected: Inspected, prepared: Prepared) -> None:
        """Take note of an image with a decision; `prepared` has its pixels."""

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Take note of an image without a decision.

        It may have been told of as inspected before, where a required observer failed.
        """


class Observers:
    """Tells every observer, one after the other in the order given; required ones come first.

    So nobody counts a part as OK that a required observer makes UNDECIDED.
    """

    def __init__(self, observers: Iterable[Observer], metrics: Metrics) -> None:
        self._observers = sorted(observers, key=lambda observer: not observer.required)
        self._metrics = metrics
        for observer in self._observers:  # from 0 on, or the first would be missed
            metrics.observer_errors.labels(observer.name)

    async def inspected(self, inspected: Inspected, prepared: Prepared) -> None:
        """Tell of an image with a decision.

        Raises `InspectionFailed`, or the observer's own `ServiceError`, where a required one fails.
        """
        for observer in self._observers:
            try:
                await observer.inspected(inspected, prepared)
            except Exception as error:
                self._count(observer)
                if not observer.required:
                    continue
                if isinstance(error, ServiceError):
                    raise
                raise InspectionFailed(
                    "the inspection could not be put on record: the part counts neither as OK nor "
                    "as NG"
                ) from error

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Tell of an image without a decision; never raises."""
        for observer in self._observers:
            try:
                await observer.failed(route, error, part)
            except Exception:
                self._count(observer)

    def _count(self, observer: Observer) -> None:
        logger.exception("%s could not take note of an image", observer.name)
        self._metrics.observer_errors.labels(observer.name).inc()


class MetricsObserver(Observer):
    """Counts and measures."""

    name = "metrics"

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def inspected(self, inspected: Inspected, prepared: Prepared) -> None:
        """Count an image with a decision, and measure its score and stages."""
        route, finding = inspected.route, inspected.finding
        category, checkpoint = route.category, route.checkpoint
        for stage, milliseconds in inspected.timings_ms.items():
            self._metrics.stage_seconds.labels(stage, category).observe(milliseconds / 1000)
        labels = (category, checkpoint.name, checkpoint.version, route.role.value)
        self._metrics.routed.labels(*labels).inc()
        self._metrics.decisions.labels(category, finding.decision.value).inc()
        self._metrics.scores.labels(category).observe(finding.score)
        margin = (finding.raw_score - finding.threshold) / route.calibration.image_scale
        self._metrics.score_margin.labels(category).observe(margin)

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Count an image without a decision."""
        self._metrics.image_errors.labels(_slug(error)).inc()
        self._metrics.decisions.labels(route.category, _UNDECIDED).inc()


class LogObserver(Observer):
    """Puts every image into its request's line, and logs what no client is told."""

    name = "log"

    async def inspected(self, inspected: Inspected, prepared: Prepared) -> None:
        """Note what was decided by which version."""
        finding, route = inspected.finding, inspected.route
        note_image(
            **_named(inspected.part),
            category=route.category,
            model=str(route.checkpoint),
            decision=finding.decision.value,
            score=round(finding.score, 6),
        )

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Note the problem; an error that is none of the service's own with its traceback."""
        if not isinstance(error, ServiceError):
            logger.error("inspecting an image of %s failed", route.category, exc_info=error)
        note_image(
            **_named(part), category=route.category, decision=_UNDECIDED, problem=_slug(error)
        )


class TracingObserver(Observer):
    """Makes spans."""

    name = "tracing"

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def inspected(self, inspected: Inspected, prepared: Prepared) -> None:
        """Make the image's spans."""
        decision = inspected.finding.decision.value
        self._tracing.inspected(inspected.route.category, decision, inspected.timings_ms)

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Make none: it has no stages that ended."""


def _slug(error: Exception) -> str:
    known = PROBLEM_TYPES[type(error)] if isinstance(error, ServiceError) else INTERNAL
    return known.slug


def _named(part: PartFields) -> dict[str, str]:
    return {} if part.part_id is None else {"part_id": part.part_id}

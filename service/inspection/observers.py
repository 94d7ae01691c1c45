"""Callbacks after each inspection has been recorded: metrics, drift, the log, traces, the shadow.

    observers = Observers([MetricsObserver(metrics), LogObserver()], metrics)

Add a new observer to the list in `service.assembly.inspecting`.
"""

import logging
from collections.abc import Iterable
from functools import cache
from typing import Protocol

from service.errors import InspectionFailed, ServiceError
from service.inspection.images.preparing import Prepared
from service.inspection.options import PartFields
from service.inspection.result import Inspected, problem_type_of
from service.inspection.submission import Origin
from service.telemetry.logs import note_image
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing
from service.versions.registry import Route

logger = logging.getLogger("service.record")

ON_THE_LINE = frozenset({Origin.LINE})
"""The origins of parts that count: a late part was counted by its first answer, a test never."""

_UNDECIDED = "UNDECIDED"


class Observer(Protocol):
    """Called after the inspection of every image of certain origins, before the answer is written.

    A `required` observer is called before the part is recorded; if it fails, the part is UNDECIDED.
    The others are called afterwards; their failures are only logged and counted. The answer waits
    for observers: start a task for long work.
    """

    name: str
    required: bool = False
    origins: frozenset[Origin] = frozenset(Origin)

    async def inspected(self, inspected: Inspected, route: Route, prepared: Prepared) -> None:
        """Handle an image with a decision; `prepared` has the inputs of a shadow's network."""

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Handle an image without a decision.

        If a required observer failed, `inspected` may have been called for the same image.
        """


class Observers:
    """Calls observers one after the other, required ones first, then in the order given.

    So no observer counts a part as OK that a required one makes UNDECIDED.
    """

    def __init__(self, observers: Iterable[Observer], metrics: Metrics) -> None:
        self._observers = sorted(observers, key=lambda observer: not observer.required)
        self._metrics = metrics
        for observer in self._observers:  # start at 0, so that `increase` sees the first error
            metrics.observer_errors.labels(observer.name)

    async def require(
        self, inspected: Inspected, route: Route, prepared: Prepared, origin: Origin
    ) -> None:
        """Call the required observers about an image with a decision.

        Raises an observer's `ServiceError`, or `InspectionFailed` for its other errors.
        """
        for observer in self._of(origin, required=True):
            try:
                await observer.inspected(inspected, route, prepared)
            except Exception as error:
                self._count(observer)
                if isinstance(error, ServiceError):
                    raise
                raise InspectionFailed(
                    "the inspection could not be recorded: the part counts neither as OK nor as NG"
                ) from error

    async def inspected(
        self, inspected: Inspected, route: Route, prepared: Prepared, origin: Origin
    ) -> None:
        """Call the other observers about an image with a decision; never raises."""
        for observer in self._of(origin, required=False):
            try:
                await observer.inspected(inspected, route, prepared)
            except Exception:
                self._count(observer)

    async def failed(
        self, route: Route, error: Exception, part: PartFields, origin: Origin
    ) -> None:
        """Call every observer about an image without a decision; never raises."""
        for observer in (*self._of(origin, required=True), *self._of(origin, required=False)):
            try:
                await observer.failed(route, error, part)
            except Exception:
                self._count(observer)

    def _of(self, origin: Origin, *, required: bool) -> list[Observer]:
        return [
            observer
            for observer in self._observers
            if observer.required == required and origin in observer.origins
        ]

    def _count(self, observer: Observer) -> None:
        logger.exception("observer %s failed on an image", observer.name)
        self._metrics.observer_errors.labels(observer.name).inc()


class MetricsObserver(Observer):
    """Updates the Prometheus metrics of parts on the line."""

    name = "metrics"
    origins = ON_THE_LINE

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Their labels come from the store and from the code, so they are few, and none is removed.
        self._seconds_of = cache(metrics.stage_seconds.labels)
        self._routed = cache(metrics.routed.labels)
        self._decisions = cache(metrics.decisions.labels)
        self._scores = cache(metrics.scores.labels)
        self._margins = cache(metrics.score_margin.labels)

    async def inspected(self, inspected: Inspected, route: Route, prepared: Prepared) -> None:
        """Count an image with a decision, and measure its score and stages."""
        finding = inspected.finding
        category, checkpoint = route.category, route.checkpoint
        for stage, milliseconds in inspected.timings_ms.items():
            self._seconds_of(stage, category).observe(milliseconds / 1000)
        labels = (category, checkpoint.name, checkpoint.version, route.role.value)
        self._routed(*labels).inc()
        self._decisions(category, finding.decision.value).inc()
        self._scores(category).observe(finding.score)
        margin = (finding.raw_score - finding.threshold) / route.calibration.image_scale
        self._margins(category).observe(margin)

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Count an image without a decision."""
        self._metrics.image_errors.labels(problem_type_of(error).slug).inc()
        self._decisions(route.category, _UNDECIDED).inc()


class LogObserver(Observer):
    """Adds every image to its request's log line, and logs unexpected errors with a traceback."""

    name = "log"

    async def inspected(self, inspected: Inspected, route: Route, prepared: Prepared) -> None:
        """Add the decision and the version to the request's log line."""
        finding = inspected.finding
        note_image(
            **_named(inspected.part),
            category=route.category,
            model=str(route.checkpoint),
            decision=finding.decision.value,
            score=round(finding.score, 6),
        )

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Add the problem to the request's log line; log an unexpected error's traceback."""
        if not isinstance(error, ServiceError):
            logger.error("inspecting an image of %s failed", route.category, exc_info=error)
        slug = problem_type_of(error).slug
        note_image(**_named(part), category=route.category, decision=_UNDECIDED, problem=slug)


class TracingObserver(Observer):
    """Exports spans."""

    name = "tracing"

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def inspected(self, inspected: Inspected, route: Route, prepared: Prepared) -> None:
        """Export the image's spans."""
        decision = inspected.finding.decision.value
        self._tracing.inspected(inspected.category, decision, inspected.timings_ms)

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Do nothing: there are no finished stages."""


def _named(part: PartFields) -> dict[str, str]:
    return {} if part.part_id is None else {"part_id": part.part_id}

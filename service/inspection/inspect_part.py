"""The use case behind every door: inspect a part, record it, tell the observers.

    result = await inspect_part(PartRequest("bolt", [Upload("top.png", content)]))
    result.decision, [view.finding.score for view in result.views if isinstance(view, Inspected)]

One version inspects all views of a part. With a recorder, the part is recorded before any observer
counts it and before the door answers, whether its client is still there or not.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from PIL.Image import Image

from model.inspection import Category
from service.errors import (
    CheckpointUnavailable,
    MapNotKept,
    NoSuchCategory,
    NoSuchVersion,
    ServiceError,
)
from service.inspection.images.pictures import HeatmapKind
from service.inspection.images.sources import Source
from service.inspection.observers import Observers
from service.inspection.options import InspectOptions
from service.inspection.pipeline import Pipeline
from service.inspection.recording import PartRecorder
from service.inspection.request import PartRequest
from service.inspection.result import (
    Attempt,
    Inspected,
    PartResult,
    ViewResult,
    forget_traceback,
    problem_of_part,
)
from service.inspection.submission import Origin
from service.inspection.turns import Turns
from service.versions.registry import Registry, Route
from service.workers.jobs import Priority

_SHADOWED_VIEWS = 4
"""Views of a part that a shadow scores; their pixels stay in memory until the part is recorded."""


class InspectPart:
    """Finds the version for a part, inspects its views concurrently, and records it."""

    def __init__(
        self,
        registry: Registry,
        pipeline: Pipeline,
        observers: Observers,
        recorder: PartRecorder | None = None,
    ) -> None:
        self._registry = registry
        self._pipeline = pipeline
        self._observers = observers
        self._recorder = recorder
        self._turns = Turns()
        self._finishing: set[asyncio.Task[PartResult]] = set()

    async def __call__(self, part: PartRequest) -> PartResult:
        """Inspect a part; a view that fails has its exception in `PartResult.views`.

        Raises `NoSuchCategory`, `NoSuchVersion` or `CheckpointUnavailable` before any view is
        inspected. With a recorder, also raises as `PartRecorder.recall`, `DeadlineExceeded` while
        another request has the same inspection id, and `MapNotKept`.

        Cancelling drops the jobs of all views; a part with a decision is recorded nevertheless.
        """
        if part.submission.origin is Origin.LATE:  # it must not delay a part on the line
            options = replace(part.options, priority=Priority.LOW, patient=True)
            part = replace(part, options=options)
        if self._recorder is None:
            return await self._finish(part, *await self._attempt(part))
        return await self._recorded(part, self._recorder)

    def deadline(self, options: InspectOptions) -> float:
        """Return a part's deadline, by the event loop's clock."""
        return self._pipeline.deadline(options)

    async def settle(self) -> None:
        """Wait until every part with a decision is recorded, also those whose clients left."""
        while self._finishing:
            await asyncio.wait(self._finishing)

    async def _recorded(self, part: PartRequest, recorder: PartRecorder) -> PartResult:
        """Inspect a part unless it is journaled; its id is taken until the part is recorded."""
        submission = part.submission
        end_turn: Callable[[], None] = _do_nothing
        deadline = self.deadline(part.options)
        if not submission.fresh:
            end_turn = await self._turns.take(submission.inspection_id, deadline)
        try:
            earlier = None if submission.fresh else await recorder.recall(part, deadline)
            attempted = None if earlier else await self._attempt(part)
        except BaseException as error:
            end_turn()
            recorder.refuse(part, *problem_of_part(error))
            raise
        if attempted is None:
            end_turn()
            assert earlier is not None
            return await self._again(part, earlier)
        finishing = asyncio.create_task(self._finish(part, *attempted))
        self._finishing.add(finishing)
        finishing.add_done_callback(self._finishing.discard)
        finishing.add_done_callback(lambda _: end_turn())
        return await asyncio.shield(finishing)

    async def _attempt(self, part: PartRequest) -> tuple[Route, list[Attempt]]:
        key = part.options.part.part_id or part.request_id
        route = find_version(self._registry, part.category, part.version, key)
        options, origin = part.options, part.submission.origin
        if self._recorder is not None:
            maps_of = self._recorder.maps_of(part.submission)
            options = replace(options, fingerprints=True, maps_of=maps_of)
        if len(part.views) == 1:  # saves a task
            return route, [await self._view(route, part.views[0], options, origin)]
        views = (
            self._view(route, view, options, origin, is_shadowed=number < _SHADOWED_VIEWS)
            for number, view in enumerate(part.views)
        )
        return route, await asyncio.gather(*views)

    async def _view(
        self,
        route: Route,
        view: Source | Image,
        options: InspectOptions,
        origin: Origin,
        *,
        is_shadowed: bool = True,
    ) -> Attempt:
        attempt = await self._pipeline.attempt(route, view, options)
        if isinstance(attempt.result, Inspected):
            assert attempt.prepared is not None
            if not is_shadowed:
                attempt.prepared = replace(attempt.prepared, shadow_pixels=None)
            try:
                await self._observers.require(attempt.result, route, attempt.prepared, origin)
            except ServiceError as error:
                attempt.result = forget_traceback(error)
        return attempt

    async def _finish(self, part: PartRequest, route: Route, attempts: list[Attempt]) -> PartResult:
        """Record a part and tell the observers; the result is what has been recorded."""
        views = [attempt.result for attempt in attempts]
        result = PartResult(
            route, views, part.submission.inspection_id, all_or_none=part.all_or_none
        )
        if self._recorder is not None:
            deadline = self.deadline(part.options)
            try:
                result = await self._recorder.record(part, result, attempts, deadline)
            except Exception as error:
                self._recorder.refuse(part, *problem_of_part(error))
                views = [view if isinstance(view, Exception) else error for view in views]
                result = replace(result, views=views)
        if result.replayed:  # the journal, which could not be read before, has the id
            return await self._again(part, result)
        origin = part.submission.origin
        for view, attempt in zip(result.views, attempts, strict=True):
            if isinstance(view, Inspected):
                assert attempt.prepared is not None
                await self._observers.inspected(view, route, attempt.prepared, origin)
            else:
                await self._observers.failed(route, view, part.options.part, origin)
                forget_traceback(view)  # after the observers, which log it
        return result

    async def _again(self, part: PartRequest, earlier: PartResult) -> PartResult:
        """Return a journaled result, with its pictures drawn again. Raises `MapNotKept`."""
        route = self._route_of(part.category, earlier)
        views = [
            await self._drawn_again(route, part, number, view)
            if isinstance(view, Inspected) and part.options.wants_map
            else view
            for number, view in enumerate(earlier.views)
        ]
        return replace(earlier, route=route, views=views)

    async def _drawn_again(
        self, route: Route | None, part: PartRequest, number: int, view: Inspected
    ) -> ViewResult:
        options = part.options
        has_map = view.finding.pixel_scores is not None
        needs_map = options.anomaly_map or options.draw is not None
        if needs_map and (route is None or not has_map):
            raise MapNotKept(
                f"the part was decided {view.finding.decision}, but its anomaly map is no longer "
                "there, so the same answer cannot be given again: use the decision; it is that of "
                f"the inspection {part.submission.inspection_id}"
            )
        is_overlay = options.heatmap is HeatmapKind.OVERLAY
        if not has_map or not options.wants_picture or (is_overlay and route is None):
            return view
        drawn = await self._pipeline.draw_again(route, part.views[number], view, options)
        scores = view.finding.pixel_scores if options.anomaly_map else None
        return replace(view, picture=drawn, finding=replace(view.finding, pixel_scores=scores))

    def _route_of(self, category: Category, earlier: PartResult) -> Route | None:
        """Return the route of a journaled result; None if its version serves no more."""
        for view in earlier.views:
            if isinstance(view, Inspected):
                try:
                    version = view.checkpoint.version
                    route = find_version(self._registry, category, version, key="")
                except (NoSuchCategory, NoSuchVersion, CheckpointUnavailable):
                    return None
                return route if route.checkpoint == view.checkpoint else None
        return None


def find_version(registry: Registry, category: Category, version: str | None, key: str) -> Route:
    """Return the route of a request; without a `version`, a hash of `key` may choose the canary.

    Raises as `Registry.find`, and `NoSuchVersion` for a version that answers no requests.
    """
    if version is None:
        return registry.find(category, canary_key=key)
    answering = registry.answering(category)
    for route in answering:
        if route.checkpoint.version == version:
            return route
    have = ", ".join(route.checkpoint.version for route in answering)
    raise NoSuchVersion(
        f"version {version[:50]!r} does not serve the category {category!r}; serving: {have}"
    )


def _do_nothing() -> None:
    """End the turn of a fresh id, for which nobody waits."""

"""The use case behind every door: inspect a part.

    result = await inspect_part(PartRequest("bolt", [Upload("top.png", content)]))
    result.decision, [view.finding.score for view in result.views if isinstance(view, Inspected)]

One version inspects all views of a part.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from model.inspection import Category
from service.errors import NoSuchVersion
from service.inspection.images.sources import Source
from service.inspection.options import InspectOptions
from service.inspection.pipeline import Pipeline
from service.inspection.result import PartResult
from service.versions.registry import Registry, Route

_NO_OPTIONS = InspectOptions()


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part to inspect; its views are one or several images, encoded or decoded.

    `version` must serve the category; None leaves the choice to the route. If a canary shares the
    traffic, a hash of `options.part.part_id` (else of `request_id`) chooses, so that the same part
    always gets the same version.
    """

    category: Category
    views: Sequence[Source | Image]
    options: InspectOptions = _NO_OPTIONS
    request_id: str = ""
    version: str | None = None


class InspectPart:
    """Finds the version for a part, and inspects its views concurrently."""

    def __init__(self, registry: Registry, pipeline: Pipeline) -> None:
        self._registry = registry
        self._pipeline = pipeline

    async def __call__(self, part: PartRequest) -> PartResult:
        """Inspect a part; a view that fails has its exception in `PartResult.views`.

        Raises `NoSuchCategory`, `NoSuchVersion` or `CheckpointUnavailable` before any view is
        inspected. Cancelling drops the jobs of all views.
        """
        key = part.options.part.part_id or part.request_id
        route = find_version(self._registry, part.category, part.version, key)
        if len(part.views) == 1:  # saves a task
            (view,) = part.views
            return PartResult(route, (await self._pipeline.attempt(route, view, part.options),))
        attempts = (self._pipeline.attempt(route, view, part.options) for view in part.views)
        return PartResult(route, await asyncio.gather(*attempts))

    def deadline(self, options: InspectOptions) -> float:
        """Return a part's deadline, by the event loop's clock."""
        return self._pipeline.deadline(options)


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

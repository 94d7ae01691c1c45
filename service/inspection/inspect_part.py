"""The one use case behind every door: inspect a part.

result = await inspect_part(PartRequest("bolt", [Upload("top.png", content)]))
result.decision, [view.finding.score for view in result.views if isinstance(view, Inspected)]
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
    """A part to inspect; its views are one or several images of it, encoded or decoded already.

    `version` asks for one that serves the category; None takes whichever answers. Where two share
    the traffic, `options.part.part_id` draws one, or else `request_id`: the same part again meets
    the same version.
    """

    category: Category
    views: Sequence[Source | Image]
    options: InspectOptions = _NO_OPTIONS
    request_id: str = ""
    version: str | None = None


class InspectPart:
    """Finds the version for a part, and inspects its views beside each other."""

    def __init__(self, registry: Registry, pipeline: Pipeline) -> None:
        self._registry = registry
        self._pipeline = pipeline

    async def __call__(self, part: PartRequest) -> PartResult:
        """Inspect a part; what goes wrong with a view stands in its place of the result.

        Raises `NoSuchCategory`, `NoSuchVersion` or `CheckpointUnavailable`, with no view inspected.
        Cancelling it drops the jobs of all views.
        """
        key = part.options.part.part_id or part.request_id
        route = find_version(self._registry, part.category, part.version, key)
        if len(part.views) == 1:  # needs no task of its own
            (view,) = part.views
            return PartResult(route, (await self._pipeline.attempt(route, view, part.options),))
        attempts = (self._pipeline.attempt(route, view, part.options) for view in part.views)
        return PartResult(route, await asyncio.gather(*attempts))

    def deadline(self, options: InspectOptions) -> float:
        """Return when a part has to be answered, by the event loop's clock."""
        return self._pipeline.deadline(options)


def find_version(registry: Registry, category: Category, version: str | None, key: str) -> Route:
    """Return the route of a request that may ask for a version; None takes whichever answers.

    `key` draws the canary then. Raises what `Registry.find` does, and `NoSuchVersion` for one that
    answers no request.
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

"""What every router stands on."""

import asyncio
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from model.inspection import Category
from service.errors import NoSuchVersion
from service.fields import Asked
from service.idempotency import Answers
from service.lifecycle import Lifecycle
from service.limits import BodyLimits
from service.metrics import Metrics
from service.pipeline import InspectOptions, Pipeline
from service.pool import WorkerPool
from service.registry import Registry, Route
from service.requests import priority_of
from service.rollout import Rollout
from service.schemas import HeatmapKind
from service.shadow import Shadows


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a request for many images may be and how long it may take; how many run at once.

    Of a service that is leaving it gets no more than `leaving_s`.
    """

    body: BodyLimits
    timeout_s: float
    at_once: int
    leaving_s: float

    def deadline(self, options: InspectOptions) -> float:
        """Return when the whole request has to be answered, by the event loop's clock."""
        began = options.received_at
        began = asyncio.get_running_loop().time() if began is None else began
        return began + options.within(self.timeout_s)


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes stand on."""

    registry: Registry
    workers: WorkerPool
    pipeline: Pipeline
    lifecycle: Lifecycle
    rollout: Rollout
    shadows: Shadows
    limits: BodyLimits
    batches: BatchLimits
    answers: Answers
    metrics: Metrics


async def _service(request: Request) -> Service:  # not async, it would run in a thread
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(_service)]


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


def options_for(asked: Asked, base: InspectOptions) -> InspectOptions:
    """Return how to inspect an image, where `base` says what the headers ask for."""
    return replace(
        base,
        heatmap=asked.heatmap or HeatmapKind.NONE,
        priority=priority_of(asked.priority) if asked.priority else base.priority,
        part=asked.part,
    )

"""What every router stands on, and how long it works for a client."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from model.inspection import Category
from service.errors import ClientGone, DeadlineExceeded, NoSuchVersion
from service.fields import PRIORITY_HEADER, Asked, priority_of, timeout_s_of
from service.guard import Guard
from service.idempotency import Answers
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.middleware import received_at
from service.pipeline import InspectOptions, Pipeline
from service.pool import WorkerPool
from service.registry import Registry, Route
from service.rollout import Rollout
from service.schemas import HeatmapKind
from service.shadow import Shadows
from service.uploads import BodyLimits, read_raw

T = TypeVar("T")


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


async def read_body(request: Request, max_bytes: int, deadline: float | None = None) -> bytes:
    """Read the whole body. Raises `BodyTooLarge`, `DeadlineExceeded` or `ClientGone`."""
    try:
        async with asyncio.timeout_at(deadline):
            return await read_raw(request, max_bytes)
    except TimeoutError as error:
        raise DeadlineExceeded("the body was not there in time") from error
    except ClientDisconnect as error:
        raise ClientGone("the connection closed within the body") from error


def count_images(request: Request, count: int) -> None:
    """Hold a request's images against the rate of its caller."""
    guard: Guard = request.app.state.guard
    guard.count_images(request.scope["state"].get("caller"), count)


def options_of(request: Request) -> InspectOptions:
    """Return what a request's headers ask for: its time and priority. Raises `InvalidRequest`."""
    return InspectOptions(
        timeout_s=timeout_s_of(request.headers),
        priority=priority_of(request.headers.get(PRIORITY_HEADER)),
        received_at=received_at(request.scope),
        hold_answer=request.scope["state"].get("hold_answer"),
    )


def options_for(asked: Asked, base: InspectOptions) -> InspectOptions:
    """Return how to inspect an image, where `base` says what the headers ask for."""
    return replace(
        base,
        heatmap=asked.heatmap or HeatmapKind.NONE,
        priority=priority_of(asked.priority) if asked.priority else base.priority,
        part=asked.part,
    )


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and cancel it when the client disconnects; raises `ClientGone` then."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_client_leaves(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone("the connection closed before the answer")
    finally:
        working.cancel()
        leaving.cancel()


async def _client_leaves(request: Request) -> None:
    """Wait for the disconnect; after the body, `receive` has nothing else to say."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

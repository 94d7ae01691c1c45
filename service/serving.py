"""What every router stands on, and how long it works for a client."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from model.inspection import Category
from service.errors import ClientGone, NoSuchVersion
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.pool import WorkerPool
from service.registry import Registry, Route
from service.rollout import Rollout
from service.shadow import Shadows
from service.uploads import BodyLimits, read_raw

T = TypeVar("T")


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
    metrics: Metrics


def _service(request: Request) -> Service:
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


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the whole body. Raises `BodyTooLarge` or `ClientGone`."""
    try:
        return await read_raw(request, max_bytes)
    except ClientDisconnect as error:
        raise ClientGone("the connection closed within the body") from error


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

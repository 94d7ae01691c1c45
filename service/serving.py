"""What every router stands on, and how long it works for a client."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from service.errors import ClientGone
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.pool import WorkerPool
from service.registry import Registry
from service.rollout import Rollout
from service.shadow import Shadows
from service.uploads import BodyLimits

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

"""The routes of deliveries: their state, and what an operator may ask of a sink."""

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from service.api.deliveries.schemas import (
    DeadLetterAnswer,
    DeadLettersAnswer,
    DeliveriesAnswer,
    ReplayAnswer,
    ReplayBody,
    RetryAnswer,
    SinkAnswer,
)
from service.api.openapi import problems_of
from service.api.requests import author_of_change
from service.api.service import ServiceDependency
from service.api.small_bodies import SmallBodyRoute
from service.api.submissions import caller_name
from service.delivery.deliveries import Deliveries
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    Conflict,
    Forbidden,
    InvalidRequest,
    JournalUnavailable,
    KeysUnreadable,
    MalformedBody,
    NoSuchSink,
    RateLimited,
    StateNotWritten,
    Unauthenticated,
    UnsupportedCharset,
)
from service.http.declaration import Scope, declares
from service.versions.changes import Author

router = APIRouter(tags=["deliveries"], route_class=SmallBodyRoute)

_ALWAYS = (
    Unauthenticated, Forbidden, InvalidRequest, RateLimited, KeysUnreadable, JournalUnavailable,
)  # fmt: skip
_BODY = (MalformedBody, BodyTooLarge, BodyTooSlow, UnsupportedCharset)
_SINK: dict[str, Any] = {
    "sink": "mes",
    "type": "mqtt",
    "breaker": "open",
    "position": 41_207,
    "depth": 318,
    "oldest_age_s": 95.2,
    "delivered": 41_207,
    "dead_letters": 0,
    "last_error": "[Errno 111] Connection refused",
    "last_error_at": "2026-11-29T06:13:20.518000Z",
    "next_try_s": 12.4,
    "reruns": [],
}
_LIST: dict[int | str, Any] = {
    200: {"content": {"application/json": {"example": {"sinks": [_SINK]}}}}
}


async def _deliveries(request: Request) -> Deliveries:  # async: else it would run in a thread
    deliveries: Deliveries | None = getattr(request.app.state, "deliveries", None)
    return deliveries or Deliveries.none()


DeliveriesDependency = Annotated[Deliveries, Depends(_deliveries)]


@router.get(
    "/deliveries",
    summary="How far each sink has got",
    responses={**_LIST, **problems_of(*_ALWAYS)},
)
@declares(scope=Scope.READ)
async def status(deliveries: DeliveriesDependency) -> DeliveriesAnswer:
    """List the sinks: what waits for each, the last failure, and whether it is held."""
    dead = await asyncio.to_thread(deliveries.count_dead)
    sinks = [SinkAnswer.of(sink, dead[sink.sink]) for sink in deliveries.status()]
    return DeliveriesAnswer(sinks=sinks)


@router.get(
    "/deliveries/{sink}/dead-letters",
    summary="What a receiver can never take",
    responses=problems_of(*_ALWAYS, NoSuchSink),
)
@declares(scope=Scope.READ)
async def dead_letters(
    deliveries: DeliveriesDependency,
    sink: str,
    limit: Annotated[int, Query(ge=1, le=1000, description="at most so many")] = 100,
) -> DeadLettersAnswer:
    """List the newest dead letters with the receiver's reasons; their inspections are archived."""
    letters = await asyncio.to_thread(deliveries.dead, sink, limit)
    return DeadLettersAnswer(dead_letters=[DeadLetterAnswer.of(letter) for letter in letters])


@router.post(
    "/deliveries/{sink}/retry",
    summary="Try a sink now",
    responses=problems_of(*_ALWAYS, NoSuchSink, Conflict, StateNotWritten),
)
@declares(scope=Scope.ADMIN)
async def retry(
    request: Request, service: ServiceDependency, deliveries: DeliveriesDependency, sink: str
) -> RetryAnswer:
    """Try a held sink at once, and send its dead letters again: the receiver was repaired."""
    make = partial(deliveries.retry, sink)
    count = await service.rollout.record("dead-letters", sink, _author(request), make)
    return RetryAnswer(dead_letters=count)


@router.post(
    "/deliveries/{sink}/replay",
    summary="Send a period's events again",
    responses=problems_of(*_ALWAYS, *_BODY, NoSuchSink, Conflict, StateNotWritten),
)
@declares(scope=Scope.ADMIN)
async def replay(
    request: Request,
    service: ServiceDependency,
    deliveries: DeliveriesDependency,
    sink: str,
    body: ReplayBody,
) -> ReplayAnswer:
    """Send the events of a period again, in order, among new ones; the service's end ends it.

    Only events that the sink has passed are sent again, under their first ids: receivers that
    remember ids drop them.
    """
    through = await service.rollout.record(
        "replay", sink, _author(request), partial(deliveries.replay, sink, body.since, body.until),
        since=body.since.isoformat(), until=body.until.isoformat(),
    )  # fmt: skip
    return ReplayAnswer(since=body.since, until=body.until, through=through)


def _author(request: Request) -> Author:
    return author_of_change(request, caller_name(request), "not said")

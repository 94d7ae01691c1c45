"""Deliveries: how far each sink has got, what it refused, and sending again."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from service.api.deliveries.routes import DeliveriesDependency
from service.api.service import ServiceDependency
from service.console.changes import author_of
from service.console.form_times import aware, field_time
from service.console.visits import CHANGING, Visit, VisitDependency
from service.delivery.deliveries import Deliveries
from service.errors import InvalidRequest
from service.http.declaration import declares

router = APIRouter()

_ADDRESS = "/console/system/deliveries"
_LETTERS = 50

_Name = Annotated[str, Path(max_length=100)]
_Done = Annotated[str, Query(max_length=20)]


@router.get(_ADDRESS)
@declares(is_page=True, scope=CHANGING)
async def page(
    visit: VisitDependency, deliveries: DeliveriesDependency, done: _Done = ""
) -> Response:
    """Show the sinks with their newest dead letters."""
    sinks = deliveries.status()
    letters = await asyncio.to_thread(
        lambda: {sink.sink: deliveries.dead(sink.sink, _LETTERS) for sink in sinks}
    )
    now = field_time(datetime.now(UTC), visit.console.settings.zone)
    values = await _state(deliveries)
    return visit.page(
        "system_deliveries.html",
        section="deliveries", letters=letters, most=_LETTERS, now=now, done=done, **values,
    )  # fmt: skip


@router.get(f"{_ADDRESS}/state")
@declares(is_page=True, scope=CHANGING)
async def state(visit: VisitDependency, deliveries: DeliveriesDependency) -> Response:
    """Return the part with the sinks' state, which the page asks for every few seconds."""
    return visit.part("system_sinks.html", **await _state(deliveries))


@router.post(_ADDRESS + "/{name}/now")
@declares(is_page=True, scope=CHANGING)
async def try_now(
    visit: VisitDependency, deliveries: DeliveriesDependency, name: _Name
) -> Response:
    """Try a held sink at once."""
    await visit.form()
    deliveries.try_now(name)
    return visit.redirect(f"{_ADDRESS}?done=tried")


@router.post(_ADDRESS + "/{name}/dead-letters")
@declares(is_page=True, scope=CHANGING)
async def send_dead_letters(
    visit: VisitDependency,
    service: ServiceDependency,
    deliveries: DeliveriesDependency,
    name: _Name,
) -> Response:
    """Send a sink's dead letters again."""
    author = author_of(visit, await visit.form())
    retry = partial(deliveries.retry, name)
    await service.rollout.record("dead-letters", name, author, retry)
    return visit.redirect(f"{_ADDRESS}?done=dead-letters")


@router.post(_ADDRESS + "/{name}/replay")
@declares(is_page=True, scope=CHANGING)
async def replay(
    visit: VisitDependency,
    service: ServiceDependency,
    deliveries: DeliveriesDependency,
    name: _Name,
) -> Response:
    """Send the events of a period again; without an end, up to now."""
    fields = await visit.form()
    author = author_of(visit, fields)
    since = _time(visit, fields.get("since", ""), "since")
    until = _time(visit, fields["until"], "until") if fields.get("until") else datetime.now(UTC)
    if since >= until:
        raise InvalidRequest(f"since must be before until, got {since} and {until}")
    await service.rollout.record(
        "replay", name, author, partial(deliveries.replay, name, since, until),
        since=since.isoformat(), until=until.isoformat(),
    )  # fmt: skip
    return visit.redirect(f"{_ADDRESS}?done=replay")


async def _state(deliveries: Deliveries) -> dict[str, Any]:
    dead = await asyncio.to_thread(deliveries.count_dead)
    return {"sinks": deliveries.status(), "dead": dead}


def _time(visit: Visit, text: str, field: str) -> datetime:
    """Return a time of a form; one without a zone is that of the plant."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{field}: expected a time, got {text[:50]!r}") from error
    return aware(moment, visit.console.settings.zone)

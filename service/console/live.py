"""The page Live: the last part of each place, kept up to date by server-sent events.

A stream sends the tiles that changed after the browser's number of the journal, its
`Last-Event-ID`. A tile is the whole state of its place, so whoever was away misses nothing.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from service.api.service import Service, ServiceDependency
from service.console.board.alarms import AlarmSources
from service.console.board.board import Board, Place, Tile
from service.console.board.feed import LiveFeed
from service.console.first_steps import first_command
from service.console.records import review_score_of, state_of
from service.console.visits import READING, Visit, VisitDependency
from service.errors import NoArchive, ServiceError
from service.http.declaration import Scope, declares
from service.shutdown import Shutdown

router = APIRouter()

_LOOK_EVERY_S = 0.2
_BEAT_S = 10.0
_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}

After = Annotated[str, Query(max_length=200)]
LastEvent = Annotated[str | None, Header(alias="last-event-id", max_length=200)]


@router.get("/console/live", name="live_page")
@declares(is_page=True, scope=READING)
async def live_page(visit: VisitDependency, service: ServiceDependency) -> Response:
    """Show every place."""
    return await _page(visit, service, None)


@router.get("/console/live/screen")
@declares(is_page=True, scope=READING)
async def live_screen(
    visit: VisitDependency, service: ServiceDependency, place: After = ""
) -> Response:
    """Show one place, or all, without menus: for a screen on the line."""
    return await _page(visit, service, place)


@router.get("/console/live/cursor")
@declares(is_page=True, scope=READING)
async def live_cursor(visit: VisitDependency) -> Response:
    """Say that the session lasts; a screen that may only read stays signed in by asking."""
    response = Response(status_code=204)
    if not visit.may((Scope.REVIEW, Scope.ADMIN)):
        visit.renew(response)
    return response


@router.get("/console/live/events")
@declares(is_page=True, is_counted=False, scope=READING)
async def live_events(
    request: Request,
    visit: VisitDependency,
    service: ServiceDependency,
    after: After = "",
    last_event: LastEvent = None,
) -> Response:
    """Stream the tiles that change, until the service stops or the session ends."""
    events = _events(visit, service, last_event or after, request.app.state.shutdown)
    return StreamingResponse(events, headers=_HEADERS, media_type="text/event-stream")


async def _page(visit: Visit, service: Service, screen: str | None) -> Response:
    feed = _feed_of(visit)
    board = await feed.current()
    shown = {
        key_of(place): _tile_html(visit, service, feed, tile)
        for place, tile in board.tiles.items()
        if not screen or key_of(place) == screen
    }
    return visit.page(
        "live.html",
        tiles=shown,
        is_screen=screen is not None,
        only=screen or "",
        shift=board.shift,
        after=board.cursor,
        state=_state_html(visit, service, board),
        command=first_command(visit, service),
    )


async def _events(
    visit: Visit, service: Service, after: str, shutdown: Shutdown
) -> AsyncIterator[str]:
    feed, state, beat_at = _feed_of(visit), "", 0.0
    yield "retry: 1000\n\n"
    while not shutdown.begun:
        try:
            board = await feed.current()
        except ServiceError:  # the journal cannot be read now: the browser tries again
            return
        for tile in board.tiles_after(after):
            html = _tile_html(visit, service, feed, tile)
            values = {"key": key_of(tile.place), "changed": tile.changed_at, "html": html}
            yield _event("tile", values)
        new_state = _state_html(visit, service, board)
        if after != board.cursor or new_state != state:
            after, state = board.cursor, new_state
            values = {"html": state, "order": [key_of(place) for place in board.tiles]}
            yield _event("state", values, after)
        if time.monotonic() - beat_at > _BEAT_S:
            beat_at = time.monotonic()
            if not _lasts(visit):
                return
            yield _event("beat", {})
        await asyncio.sleep(_LOOK_EVERY_S)


def key_of(place: Place) -> str:
    """Return a place's name in addresses and pages."""
    return f"{'station' if place.is_station else 'category'}:{place.name}"


def _lasts(visit: Visit) -> bool:
    """Return whether the key is still there and the person too."""
    try:
        caller = visit.console.sessions.identify(visit.request.scope)
    except ServiceError:
        return False
    return Scope.READ in caller.scopes or bool(caller.scopes & {Scope.REVIEW, Scope.ADMIN})


def _feed_of(visit: Visit) -> LiveFeed:
    feed = visit.console.feed
    if feed is None:
        raise NoArchive("this service keeps no inspections: set MAMBAAD_VERSIONS__STATE_DIR")
    return feed


def _tile_html(visit: Visit, service: Service, feed: LiveFeed, tile: Tile) -> str:
    def draw() -> str:
        return visit.html(
            "tile.html",
            tile=tile,
            key=key_of(tile.place),
            state_of=state_of,
            node=feed.node,
            review_score=review_score_of(service.registry, tile.parts[0]),
        )

    key = (visit.language.code, visit.root, tile.place)
    return feed.html(key, tile, draw)


def _state_html(visit: Visit, service: Service, board: Board) -> str:
    """Return the alarms and the beginning of the shift."""
    sources = AlarmSources.of(visit.request, service)
    return visit.html("state.html", alarms=sources.now(board), shift=board.shift)


def _event(kind: str, values: Mapping[str, object], identifier: str | None = None) -> str:
    named = f"id: {identifier}\n" if identifier else ""
    return f"event: {kind}\n{named}data: {json.dumps(values)}\n\n"

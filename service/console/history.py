"""The page History: every search of the archive, with an address that can be shared."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import partial
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from model.inspection import Decision
from service.api.documents import build
from service.api.inspections.door import InspectionsDoorDependency
from service.api.inspections.queries import SearchQuery
from service.api.service import ServiceDependency
from service.archive.searching.search import Filter, Page, Position, search
from service.console.first_steps import first_command
from service.console.form_times import field_time
from service.console.records import state_of
from service.console.visits import READING, VisitDependency
from service.http.declaration import declares
from service.inspection.submission import Origin

router = APIRouter()

PAGE_PARTS = 30
_TIMES = ("since", "until")


@router.get("/console/history", name="history_page")
@declares(is_page=True, scope=READING)
async def history_page(
    request: Request,
    visit: VisitDependency,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
) -> Response:
    """Show the newest parts that have all the given values; empty fields do not count."""
    zone = visit.console.settings.zone
    given = {name: value for name, value in request.query_params.items() if value.strip()}
    query = build(SearchQuery, {"limit": PAGE_PARTS, **_with_zone(given, zone)}, "query")
    wanted = query.wanted
    after = door.cursors.read(query.cursor, wanted.text) if query.cursor else None
    page = await door.archive.read(partial(_page, wanted, query.limit, after))
    filters = {name: value for name, value in given.items() if name != "cursor"}
    cursor = door.cursors.write(page.end, wanted.text) if page.end else None
    return visit.page(
        "history.html",
        parts=page.inspections,
        state_of=state_of,
        node=door.node,
        filters=_for_form(filters, query, zone),
        is_filtered=bool(filters.keys() - {"limit"}),
        is_first=after is None,
        newest=urlencode(filters),
        older=urlencode({**filters, "cursor": cursor}) if cursor else None,
        categories=[route.category for route in service.registry.routes],
        command=first_command(visit, service),
        decisions=[decision.value for decision in Decision],
        origins=[origin.value for origin in Origin],
    )


def _page(wanted: Filter, limit: int, after: Position | None, connection: Connection) -> Page:
    return search(connection, wanted, limit, after)


def _with_zone(given: Mapping[str, str], zone: tzinfo) -> dict[str, str]:
    """Return the parameters with the plant's zone added to times that have none, as forms send."""
    return {name: _aware(value, zone) if name in _TIMES else value for name, value in given.items()}


def _aware(text: str, zone: tzinfo) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text  # the query's model says what it expects
    return moment.replace(tzinfo=zone).isoformat() if moment.tzinfo is None else text


def _for_form(filters: Mapping[str, str], query: SearchQuery, zone: tzinfo) -> dict[str, str]:
    """Return the values of the form's fields, with times as its fields write them."""
    times = {name: getattr(query, name) for name in _TIMES}
    shown = {name: field_time(moment, zone) for name, moment in times.items() if moment is not None}
    return {**filters, **shown}

"""The routes of inspections: those that find and judge, and those of `pictures` and `purging`."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json
from sqlalchemy import Connection

from service.api.inspections import openapi, pictures, purging
from service.api.inspections.door import InspectionId, InspectionsDoorDependency, author_of
from service.api.inspections.queries import SearchQuery, SummaryQuery
from service.api.inspections.schemas import (
    HoldBody,
    InspectionAnswer,
    PageAnswer,
    VerdictBody,
)
from service.api.inspections.summaries import SummaryAnswer
from service.api.small_bodies import SmallBodyRoute
from service.archive.searching.cursors import Cursors
from service.archive.searching.judging import NewHold, NewVerdict
from service.archive.searching.search import Filter, Position, search
from service.archive.searching.summary import summarise
from service.http.declaration import Scope, declares

router = APIRouter(tags=["inspections"], route_class=SmallBodyRoute)
router.include_router(pictures.router)
router.include_router(purging.router)


@router.get(
    "/inspections",
    summary="Search inspections",
    response_model=PageAnswer,
    responses=openapi.SEARCH,
)
@declares(scope=Scope.READ)
async def find_inspections(
    door: InspectionsDoorDependency, query: Annotated[SearchQuery, Query()]
) -> Response:
    """Return the newest inspections that have all the given values.

    Send `cursor` from the answer, with the same other parameters, for the next page. Rows that are
    added or deleted meanwhile are neither repeated, nor do they hide others.
    """
    wanted = query.wanted
    is_first = query.cursor is None
    after = None if is_first else door.cursors.read(query.cursor or "", wanted.text)
    content = await door.archive.read(partial(_page, door.cursors, wanted, query.limit, after))
    return _json(content)


@router.get(
    "/inspections/summary",
    summary="Count inspections by decision, verdict and score",
    response_model=SummaryAnswer,
    responses=openapi.SUMMARY,
)
@declares(scope=Scope.READ)
async def summary(
    door: InspectionsDoorDependency, query: Annotated[SummaryQuery, Query()]
) -> Response:
    """Count parts by hour or day, and by score; by default the last 24 hours or 30 days.

    The counts include whole hours, so `since` and `until` are rounded. Parts of origin `test` are
    not counted; parts that the retention deleted still are.
    """
    period = query.period

    def count(connection: Connection) -> bytes:
        counted = summarise(
            connection,
            period,
            category=query.category,
            station=query.station,
            origin=query.origin,
        )
        return to_json(SummaryAnswer.of(counted))

    return _json(await door.archive.read(count))


@router.get(
    "/inspections/{inspection_id}",
    summary="One inspection, with its views, verdicts and holds",
    responses=openapi.ONE,
)
@declares(scope=Scope.READ)
async def find_inspection(
    door: InspectionsDoorDependency, identifier: InspectionId
) -> InspectionAnswer:
    """Return all that the archive has about a part."""
    return InspectionAnswer.of_found(await door.archive.find(identifier))


@router.put(
    "/inspections/{inspection_id}/verdict",
    summary="Give a verdict",
    responses=openapi.JUDGED,
)
@declares(scope=Scope.REVIEW)
async def give_verdict(
    request: Request, door: InspectionsDoorDependency, identifier: InspectionId, body: VerdictBody
) -> InspectionAnswer:
    """Append a verdict; the newest stands, and the earlier ones stay. It is delivered to all sinks.

    A verdict that says the same as the newest is not appended again. `withdrawn` takes the verdict
    back: then none stands. 422 if nobody has given one.
    """
    author = author_of(request, body.who)
    new = NewVerdict(body.verdict, author, body.defect_class, body.comment)
    return InspectionAnswer.of_found(await door.archive.judge(identifier, new))


@router.put(
    "/inspections/{inspection_id}/hold",
    summary="Hold an inspection, or release it",
    responses=openapi.JUDGED,
)
@declares(scope=Scope.REVIEW)
async def hold(
    request: Request, door: InspectionsDoorDependency, identifier: InspectionId, body: HoldBody
) -> InspectionAnswer:
    """Keep the retention from deleting an inspection and its files, until it is released.

    Only the node that inspected a part can hold it: 409 names that node.
    """
    new = NewHold(body.is_held, author_of(request, body.who), body.reason)
    return InspectionAnswer.of_found(await door.archive.judge(identifier, new))


def _page(
    cursors: Cursors,
    wanted: Filter,
    limit: int,
    after: Position | None,
    connection: Connection,
) -> bytes:
    page = search(connection, wanted, limit, after)
    cursor = cursors.write(page.end, wanted.text) if page.end else None
    return to_json(PageAnswer.of(page, cursor))


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")

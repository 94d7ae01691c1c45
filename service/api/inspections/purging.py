"""The route that deletes inspections by a filter; `mambaad archive purge` calls it."""

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, Field

from model.inspection import Decision
from service.api.inspections import openapi
from service.api.inspections.door import InspectionsDoorDependency, author_of
from service.api.inspections.queries import FilterQuery
from service.api.inspections.schemas import Who
from service.api.schemas import Answer
from service.api.small_bodies import SmallBodyRoute
from service.archive.retention import Preview, Purged, Purger
from service.errors import InvalidRequest, NoArchive
from service.http.declaration import Scope, declares
from service.inspection.options import Strict

router = APIRouter(tags=["inspections"], route_class=SmallBodyRoute)


class PurgeBody(Strict):
    """Which inspections to delete, and who says so."""

    filter: FilterQuery = Field(description="as the parameters of `GET /inspections`, at least one")
    dry_run: bool = Field(False, strict=True, description="true: only count, and delete nothing")
    media_only: bool = Field(
        False, strict=True, description="true: delete images and raw maps, and keep the rows"
    )
    cursor: str | None = Field(None, max_length=200, description="from the last answer")
    who: Who | None = Field(None, description="who decided; logged with the name of the API key")


class PreviewAnswer(Answer):
    """What the filter matches."""

    matched: int = Field(description="inspections")
    held: int = Field(description="of these: held, so they stay")
    not_delivered: int = Field(description="of these: a sink has not taken them, so they stay")
    by_decision: dict[Decision, int] = Field(description="those matched, by the decision told")
    oldest: AwareDatetime | None = Field(description="when the oldest was received")
    newest: AwareDatetime | None = Field(description="when the newest was received")


class PurgeAnswer(Answer):
    """What a page of a purge has deleted."""

    deleted: int = Field(description="inspections that were deleted, or lost their files")
    left: int = Field(description="inspections that stay: held, or not delivered")
    files: int = Field(description="images and raw maps that were deleted")
    cursor: str | None = Field(description="for the next page; null: this was the last")
    preview: PreviewAnswer | None = Field(description="with `dry_run`: all that the filter matches")


async def _purger(request: Request) -> Purger:  # async: else it would run in a thread
    purger: Purger | None = getattr(request.app.state, "purger", None)
    if purger is None:
        raise NoArchive("this service keeps no inspections: there is nothing to purge")
    return purger


@router.post(
    "/inspections/purge", summary="Delete inspections by a filter", responses=openapi.PURGED
)
@declares(scope=Scope.ADMIN)
async def purge(
    request: Request,
    door: InspectionsDoorDependency,
    purger: Annotated[Purger, Depends(_purger)],
    body: PurgeBody,
) -> PurgeAnswer:
    """Delete up to 500 inspections of this node, with their files; repeat it with `cursor`.

    Inspections that are held, or that a sink has not taken, stay. So do rows in a PostgreSQL, and
    the summary's counts.
    """
    wanted = body.filter.wanted
    if not body.filter.model_dump(exclude_defaults=True):
        raise InvalidRequest("filter: name at least one parameter, such as `until`")
    if body.dry_run:
        return _answer(Purged(0, 0, 0, None), None, await asyncio.to_thread(purger.preview, wanted))
    after = door.cursors.read(body.cursor, wanted.text) if body.cursor else None
    who = author_of(request, body.who)
    call = partial(purger.purge, wanted, after, who=who, media_only=body.media_only)
    purged = await asyncio.to_thread(call)
    cursor = door.cursors.write(purged.end, wanted.text) if purged.end else None
    return _answer(purged, cursor, None)


def _answer(purged: Purged, cursor: str | None, preview: Preview | None) -> PurgeAnswer:
    return PurgeAnswer(
        deleted=purged.deleted,
        left=purged.left,
        files=purged.files,
        cursor=cursor,
        preview=preview and PreviewAnswer.model_validate(preview, from_attributes=True),
    )

"""The routes of the page Review."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.api.inspections.door import InspectionsDoor, InspectionsDoorDependency, id_in
from service.api.service import ServiceDependency
from service.archive.records import Verdict, VerdictRecord
from service.archive.searching.judging import NewVerdict, Seen, standing
from service.console.changes import keep_name, reviewer_name, reviewer_of
from service.console.review import single
from service.console.review.asked import Asked
from service.console.review.desk import Desk, Note, keep_hiding
from service.console.review.forms import new_verdict, seen_in
from service.console.visits import REVIEWING, VisitDependency, local_address
from service.errors import NoSuchInspection
from service.http.declaration import declares

router = APIRouter()
router.include_router(single.router)

_PAGE = "/console/review"

_Id = Annotated[str, Path(max_length=100)]  # read after the token
_View = Annotated[int | None, Query(ge=0, le=99)]


async def _desk(
    request: Request,
    visit: VisitDependency,
    service: ServiceDependency,
    door: InspectionsDoorDependency,
) -> Desk:
    return Desk(visit, service, door, request.app.state.review_claims)


_DeskDependency = Annotated[Desk, Depends(_desk)]


@router.get(_PAGE, name="review_page")
@declares(is_page=True, scope=REVIEWING)
async def review_page(request: Request, desk: _DeskDependency) -> Response:
    """Show the first part that waits, or ask for the person's name."""
    asked = Asked.of(request.query_params)
    if reviewer_name(desk.visit) is None:
        return desk.visit.page("review_name.html", next=f"{_PAGE}?{asked.query}")
    categories = [route.category for route in desk.service.registry.routes]
    return desk.visit.page("review.html", categories=categories, **await desk.first(asked))


@router.get(f"{_PAGE}/desk")
@declares(is_page=True, scope=REVIEWING)
async def desk_part(request: Request, desk: _DeskDependency, view: _View = None) -> Response:
    """Show the part `part`, judged before or not; without it, the first that waits."""
    query = request.query_params
    asked = Asked.of(query)
    values = (
        await desk.certain(asked, id_in(query["part"]), view=view)
        if query.get("part")
        else await desk.first(asked)
    )
    return desk.visit.page("review_desk.html", **values)


@router.post(f"{_PAGE}/name")
@declares(is_page=True, scope=REVIEWING)
async def say_name(visit: VisitDependency) -> Response:
    """Keep the name of a person who needs no key, and go on."""
    form = await visit.form()
    response = visit.redirect(local_address(form.get("next", _PAGE)))
    keep_name(visit, response, form)
    return response


@router.post(f"{_PAGE}/hiding")
@declares(is_page=True, scope=REVIEWING)
async def hide_scores(visit: VisitDependency) -> Response:
    """Hide the score of parts without a verdict from now on, or show it."""
    form = await visit.form()
    response = visit.redirect(local_address(form.get("next", _PAGE)))
    keep_hiding(visit, response, hides=form.get("hide") == "yes")
    return response


@router.post(f"{_PAGE}/{{inspection_id}}/verdict")
@declares(is_page=True, scope=REVIEWING)
async def judge(desk: _DeskDependency, inspection_id: _Id) -> Response:
    """Give a verdict, unless somebody else has given one meanwhile; show the next part."""
    form = await desk.visit.form()
    identifier, asked = id_in(inspection_id), Asked.of(form)
    new = new_verdict(form, reviewer_of(desk.visit))
    try:
        part = await desk.door.archive.judge(identifier, new, seen_in(form))
    except NoSuchInspection:
        note = Note("gone")
    else:
        given = standing(part.verdicts)
        is_own = given is not None and _says(given, new)
        note = Note("judged" if is_own else "overtaken", part.inspection, given)
        asked = asked.after(identifier) if is_own else asked
    return desk.visit.page("review_desk.html", **await desk.first(asked, note))


@router.post(f"{_PAGE}/{{inspection_id}}/withdrawal")
@declares(is_page=True, scope=REVIEWING)
async def withdraw(desk: _DeskDependency, inspection_id: _Id) -> Response:
    """Take the caller's own verdict back, if it still stands; show the part again."""
    form = await desk.visit.form()
    identifier, author = id_in(inspection_id), reviewer_of(desk.visit)
    asked = Asked.of(form).without(identifier)
    try:
        note = await _withdraw(desk.door, identifier, author)
    except NoSuchInspection:
        values = await desk.first(asked, Note("gone"))
    else:
        values = await desk.certain(asked, identifier, note=note)
    return desk.visit.page("review_desk.html", **values)


async def _withdraw(door: InspectionsDoor, identifier: UUID, author: str) -> Note:
    part = await door.archive.find(identifier)
    given = standing(part.verdicts)
    if given is not None and given.author == author:
        new = NewVerdict(Verdict.WITHDRAWN, author)
        part = await door.archive.judge(identifier, new, Seen(given.event_id))
        given = standing(part.verdicts)
    return Note("overtaken" if given else "withdrawn", part.inspection, given)


def _says(given: VerdictRecord, new: NewVerdict) -> bool:
    """Return whether the verdict that stands is the one that was asked for."""
    return (given.author, given.verdict, given.defect_class, given.comment) == (
        new.author, new.verdict, new.defect_class, new.comment,
    )  # fmt: skip

"""Verdicts and holds given on a part's own page."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service.api.inspections.door import InspectionsDoorDependency, id_in
from service.console.changes import keep_name, reviewer_of
from service.console.review.forms import new_hold, new_verdict, seen_in
from service.console.visits import REVIEWING, VisitDependency
from service.http.declaration import declares

router = APIRouter()

_PAGE = "/console/parts"

_Id = Annotated[str, Path(max_length=100)]  # read after the token


@router.post(f"{_PAGE}/{{inspection_id}}/verdict")
@declares(is_page=True, scope=REVIEWING)
async def judge_part(
    visit: VisitDependency, door: InspectionsDoorDependency, inspection_id: _Id
) -> Response:
    """Give a verdict or take it back, unless another one stands than the page showed."""
    form = await visit.form()
    identifier, author = id_in(inspection_id), reviewer_of(visit, form)
    new = new_verdict(form, author)
    part = await door.archive.judge(identifier, new, seen_in(form))
    newest = part.verdicts[0]
    is_overtaken = (newest.author, newest.verdict) != (author, new.verdict)
    response = visit.redirect(f"{_PAGE}/{identifier}{'?overtaken=true' * is_overtaken}")
    if "who" in form:
        keep_name(visit, response, form)
    return response


@router.post(f"{_PAGE}/{{inspection_id}}/hold")
@declares(is_page=True, scope=REVIEWING)
async def hold_part(
    visit: VisitDependency, door: InspectionsDoorDependency, inspection_id: _Id
) -> Response:
    """Keep a part and its files from the retention, or release it."""
    form = await visit.form()
    identifier = id_in(inspection_id)
    await door.archive.judge(identifier, new_hold(form, reviewer_of(visit, form)))
    response = visit.redirect(f"{_PAGE}/{identifier}")
    if "who" in form:
        keep_name(visit, response, form)
    return response

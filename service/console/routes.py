"""The console's routes: its start, its files, signing in and out, and those of each page."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.access.gate import takes_key
from service.api.inspections.door import find_door
from service.api.requests import check_query
from service.archive.searching.awaiting import has_waiting
from service.console import history, live, parts, trying
from service.console.languages import LANGUAGES
from service.console.models import routes as models
from service.console.records import has_parts
from service.console.review import routes as review
from service.console.system import routes as system
from service.console.thresholds import routes as thresholds
from service.console.visits import (
    CHANGING,
    LANGUAGE_COOKIE,
    READING,
    REVIEWING,
    THEME_COOKIE,
    THEMES,
    TRYING,
    VisitDependency,
    local_address,
)
from service.http.declaration import Access, declares

SIGN_IN = "/console/sign-in"
_CACHED = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)
_guarded = APIRouter(dependencies=[Depends(takes_key), Depends(check_query)])
_guarded.include_router(trying.router)
_guarded.include_router(live.router)
_guarded.include_router(history.router)
_guarded.include_router(parts.router)
_guarded.include_router(review.router)
_guarded.include_router(thresholds.router)
_guarded.include_router(models.router)
_guarded.include_router(system.router)

Next = Annotated[str, Query(alias="next", max_length=4000)]


@_guarded.get("/")
@_guarded.get("/console")
@declares(is_page=True)
async def start(visit: VisitDependency) -> Response:
    """Send the browser to the page that its caller needs first.

    Somebody who judges parts, and changes nothing, needs Review as long as a part waits.
    """
    app = visit.request.app
    door = find_door(visit.request)
    reads = door is not None and visit.may(READING)
    if visit.may(TRYING) and not (door and reads and await door.archive.read(has_parts)):
        return visit.redirect(app.url_path_for("try_page"))
    is_reviewer = reads and visit.may(REVIEWING) and not visit.may(CHANGING)
    if is_reviewer and door and await door.archive.read(has_waiting):
        return visit.redirect(app.url_path_for("review_page"))
    if reads:
        return visit.redirect(app.url_path_for("live_page"))
    return visit.page("nothing.html")


@router.get(SIGN_IN)
@declares(is_page=True, access=Access.OPEN)
async def sign_in_page(visit: VisitDependency, address: Next = "/") -> Response:
    """Ask for an API key."""
    has_ended = visit.session.is_signed_in and not visit.is_known
    return visit.page("sign_in.html", next=local_address(address), wrong=False, ended=has_ended)


@router.post(SIGN_IN)
@declares(is_page=True, access=Access.OPEN)
async def sign_in(visit: VisitDependency) -> Response:
    """Give the browser a session that stands for the key."""
    form = await visit.form()
    address = local_address(form.get("next", "/"))
    session = visit.console.sessions.sign_in(form.get("key", "").strip())
    if session is None:
        return visit.page("sign_in.html", 401, next=address, wrong=True, ended=False)
    response = visit.redirect(address)
    visit.set_session(response, session)
    return response


@router.post("/console/sign-out")
@declares(is_page=True, access=Access.OPEN)
async def sign_out(visit: VisitDependency) -> Response:
    """End the browser's session."""
    await visit.form()
    response = visit.redirect(SIGN_IN)
    visit.end_session(response)
    return response


@router.post("/console/choices")
@declares(is_page=True, access=Access.OPEN)
async def choose(visit: VisitDependency) -> Response:
    """Keep the browser's language and colours."""
    form = await visit.form()
    response = visit.redirect(local_address(form.get("next", "/")))
    if form.get("language") in LANGUAGES:
        visit.set_choice(response, LANGUAGE_COOKIE, form["language"])
    if form.get("theme") in THEMES:
        visit.set_choice(response, THEME_COOKIE, form["theme"])
    return response


@router.get("/console/static/{name}")
@declares(is_page=True, is_counted=False, access=Access.OPEN)
async def static_file(
    request: Request, visit: VisitDependency, name: Annotated[str, Path(max_length=100)]
) -> Response:
    """Return a file that pages load."""
    file = visit.console.pages.files.get(name)
    if file is None:
        return Response(status_code=404)
    tag = f'"{file.tag}"'
    # A worker keeps to the policy of its own file.
    policy = visit.console.policy
    headers = {"ETag": tag, "Cache-Control": _CACHED, "Content-Security-Policy": policy}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


router.include_router(_guarded)

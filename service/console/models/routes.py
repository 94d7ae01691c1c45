"""The routes of the page: what it shows, and each change."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import HTMLResponse

from model.inspection import NAME_PATTERN
from service.api.documents import build
from service.api.inspections.door import find_door
from service.api.service import Service, ServiceDependency
from service.console.changes import author_of
from service.console.models.comparing import MOST_PARTS, compare
from service.console.models.details import METRICS, details_of, in_memory
from service.console.models.overview import (
    TRANSIENT,
    candidates,
    groups,
    moment_in,
    served_categories,
    served_category,
)
from service.console.models.self_checks import RIVALS, self_checks_of
from service.console.models.targets import (
    RouteFields,
    assignment_in,
    canary_since,
    fields_of,
    roll_back,
    target_of,
)
from service.console.sharing import sharing_of
from service.console.visits import CHANGING, Visit, VisitDependency
from service.errors import InvalidRequest, NoSuchCategory
from service.http.declaration import declares
from service.versions.catalogue import Version

router = APIRouter()

_HISTORY = 50
_REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_Category = Annotated[str, Path(pattern=NAME_PATTERN)]
_Name = Annotated[str, Path(max_length=1000)]
_Number = Annotated[str, Path(max_length=9)]
_Chosen = Annotated[str, Query(max_length=1010)]
_Action = Literal["load", "warm", "unload"]


@router.get("/console/models", name="models_page")
@declares(is_page=True, scope=CHANGING)
async def models_page(
    visit: VisitDependency, service: ServiceDependency, new: Annotated[int, Query()] = -1
) -> Response:
    """Show what serves each category, and every version; `new` is the result of a scan."""
    return visit.page(
        "models.html",
        categories=served_categories(service),
        refusals=service.registry.refusals,
        sharing=sharing_of(service),
        new=new,
        **_list_values(service),
    )


@router.get("/console/models/list")
@declares(is_page=True, scope=CHANGING)
async def models_list(visit: VisitDependency, service: ServiceDependency) -> Response:
    """Return the list of versions again while one is being loaded."""
    return HTMLResponse(visit.html("models_list.html", **_list_values(service)))


@router.post("/console/models/rescan")
@declares(is_page=True, scope=CHANGING)
async def rescan(visit: VisitDependency, service: ServiceDependency) -> Response:
    """Look for new versions in the store."""
    await visit.form()
    new = await service.lifecycle.rescan()
    return visit.redirect(f"/console/models?new={len(new)}")


@router.get("/console/models/versions/{name}/{version}")
@declares(is_page=True, scope=CHANGING)
async def version_page(
    visit: VisitDependency, service: ServiceDependency, name: _Name, version: _Number
) -> Response:
    """Show one version."""
    found = service.registry.version(name, version)
    documents = visit.console.documents
    manifest = await asyncio.to_thread(documents.manifest, found.key)
    report = await asyncio.to_thread(documents.report, found.key)
    return visit.page(
        "models_version.html",
        created=moment_in(found.created),
        roles=service.registry.roles(found.key),
        details=details_of(manifest) if manifest else None,
        self_checks=self_checks_of(manifest) if manifest else [],
        rivals=RIVALS,
        advise_command=f"mambaad advise {found.key.name} DATA",
        names=METRICS,
        has_report=report is not None,
        report_command=_report_command(found),
        **_memory_values(service, found),
    )


@router.get("/console/models/versions/{name}/{version}/memory")
@declares(is_page=True, scope=CHANGING)
async def version_memory(
    visit: VisitDependency, service: ServiceDependency, name: _Name, version: _Number
) -> Response:
    """Return a version's state in memory again while it changes."""
    found = service.registry.version(name, version)
    return HTMLResponse(visit.html("models_memory.html", **_memory_values(service, found)))


@router.get("/console/models/versions/{name}/{version}/report")
@declares(is_page=True, scope=CHANGING, page_policy=_REPORT_POLICY)
async def version_report(
    visit: VisitDependency, service: ServiceDependency, name: _Name, version: _Number
) -> Response:
    """Return the report that `mambaad evaluate` stored with the version; it may run nothing."""
    found = service.registry.version(name, version)
    report = await asyncio.to_thread(visit.console.documents.report, found.key)
    if report is None:
        return visit.page("models_no_report.html", 404, report_command=_report_command(found))
    return Response(report, media_type="text/html; charset=utf-8")


@router.get("/console/models/versions/{name}/{version}/{action}")
@declares(is_page=True, scope=CHANGING)
async def confirm_memory(
    visit: VisitDependency,
    service: ServiceDependency,
    name: _Name,
    version: _Number,
    action: _Action,
) -> Response:
    """Say what a change of memory does, and ask who makes it and why."""
    found = service.registry.version(name, version)
    roles = service.registry.roles(found.key)
    return visit.page(
        "models_confirm_memory.html", action=action, roles=roles, **_memory_values(service, found)
    )


@router.post("/console/models/memory")
@declares(is_page=True, scope=CHANGING)
async def change_memory(visit: VisitDependency, service: ServiceDependency) -> Response:
    """Load, warm up or unload a version; answers when every worker has done it."""
    form = await visit.form()
    author = author_of(visit, form)
    name, _, number = form.get("model", "").rpartition("/")
    key = service.registry.version(name, number).key
    action = form.get("action", "")
    if action == "load":
        await service.rollout.load(key, author)
    elif action == "warm":
        await service.lifecycle.warm([key])
    elif action == "unload":
        await service.lifecycle.unload(key)
    else:
        raise InvalidRequest(f"action must be load, warm or unload, got {action[:100]!r}")
    return _to(visit, f"/console/models/versions/{quote(name)}/{number}")


@router.get("/console/models/categories/{category}")
@declares(is_page=True, scope=CHANGING)
async def category_page(
    visit: VisitDependency,
    service: ServiceDependency,
    category: _Category,
    chosen: _Chosen = "",
    changed: Annotated[bool, Query()] = False,
) -> Response:
    """Show what serves a category, and offer each change; `chosen` is a version to begin with."""
    served = served_category(service, category)
    usable = candidates(service, category)
    if served.assignment is None and not usable:
        raise NoSuchCategory(f"no version in the store has the category {category[:100]!r}")
    revision = service.rollout.revision(category)
    back = roll_back(service, category)
    return visit.page(
        "models_category.html",
        served=served,
        usable=usable,
        chosen=chosen,
        changed=changed,
        revision=revision,
        fields=fields_of(served.assignment, revision) if served.assignment else None,
        states={version.key: service.lifecycle.state(version.key) for version in usable},
        back=back,
        back_fields=fields_of(back.assignment, revision) if back else None,
        comparisons=[one for one in service.shadows if one.category == category],
        history=[
            (record, assignment_in(record.before), assignment_in(record.after))
            for record in service.rollout.history(category, "route")[:_HISTORY]
        ],
    )


@router.get("/console/models/categories/{category}/canary")
@declares(is_page=True, scope=CHANGING)
async def canary_part(
    request: Request, visit: VisitDependency, service: ServiceDependency, category: _Category
) -> Response:
    """Compare the canary's decisions with the stable version's, from the archive."""
    door = find_door(request)
    change = canary_since(service, category)
    assignment = service.registry.assignments.get(category)
    if door is None or change is None or assignment is None or assignment.canary is None:
        return HTMLResponse(visit.html("models_canary.html", comparison=None, change=None, asked=0))
    pair = (assignment.stable, assignment.canary.checkpoint)
    query = partial(compare, category=category, versions=pair, since=change.at)
    return HTMLResponse(
        visit.html(
            "models_canary.html",
            comparison=await door.archive.read(query),
            change=change,
            asked=assignment.canary.share,
            most=MOST_PARTS,
        )
    )


@router.get("/console/models/categories/{category}/change")
@declares(is_page=True, scope=CHANGING)
async def confirm_route(
    request: Request, visit: VisitDependency, service: ServiceDependency, category: _Category
) -> Response:
    """Show the route before and after a change, and ask who makes it and why."""
    fields = _route_fields(request.query_params)
    served, target = served_category(service, category), target_of(service, fields)
    current = service.rollout.revision(category)
    return visit.page(
        "models_confirm_route.html",
        served=served,
        target=target,
        fields=fields_of(target, fields.revision),
        is_stale=fields.revision != current,
        is_same=served.is_routed and target == served.assignment,
        thresholds={key: service.rollout.threshold(category, key) for _, key in target.roles()},
    )


@router.post("/console/models/categories/{category}/route")
@declares(is_page=True, scope=CHANGING)
async def change_route(
    visit: VisitDependency, service: ServiceDependency, category: _Category
) -> Response:
    """Route a category, unless another person has changed its route meanwhile."""
    form = await visit.form()
    author = author_of(visit, form)
    fields = _route_fields(form)
    target = target_of(service, fields)
    await service.rollout.route(
        category, target, author, keep="keep" in form, revision=fields.revision
    )
    return _to(visit, f"/console/models/categories/{category}?changed=true")


def _route_fields(given: Mapping[str, str]) -> RouteFields:
    return build(RouteFields, dict(given), "form")


def _report_command(version: Version) -> str:
    name, number = version.key.name, version.key.version
    return f"mambaad evaluate {name} DATA --version {number} --report report.html"


def _list_values(service: Service) -> dict[str, Any]:
    listed = groups(service)
    states = {one.state for group in listed for one in group.versions}
    return {"groups": listed, "is_changing": bool(states & TRANSIENT)}


def _memory_values(service: Service, version: Version) -> dict[str, Any]:
    state = service.lifecycle.state(version.key)
    return {
        "version": version,
        "state": state,
        "problem": service.lifecycle.problem(version.key),
        "memory": in_memory(service, version.key),
        "is_changing": state in TRANSIENT,
    }


def _to(visit: Visit, address: str) -> Response:
    """Send the browser to a page; htmx opens it instead of showing it in the form."""
    if visit.is_partial:
        return Response(status_code=204, headers={"HX-Redirect": visit.root + address})
    return visit.redirect(address)

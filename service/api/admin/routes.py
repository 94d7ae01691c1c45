"""The routes for operators: versions, routes and thresholds."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from model.checkpoints.key import CheckpointKey
from service.api import openapi
from service.api.admin.schemas import (
    ChangeAnswer,
    ModelRef,
    ModelsAnswer,
    Reason,
    RescanAnswer,
    RouteAnswer,
    RouteBody,
    ServesAnswer,
    SetAnswer,
    ShadowAnswer,
    ThresholdAnswer,
    ThresholdBody,
    ThresholdsAnswer,
    VersionAnswer,
    Who,
)
from service.api.requests import author_of_change
from service.api.service import Service, ServiceDependency
from service.api.small_bodies import SmallBodyRoute
from service.errors import InvalidRequest, NoSuchCategory
from service.http.declaration import Scope, declares
from service.versions.assignment import Assignment, Role
from service.versions.catalogue import Version
from service.versions.thresholds import Threshold

router = APIRouter(
    tags=["models"],
    responses=openapi.problems(401, 403, 404, 409, 422, 429, 503),
    route_class=SmallBodyRoute,
)

_HISTORY = 100
_WITH_BODY = openapi.problems(400, 408, 413, 415)


@router.get("/models", summary="Every version in the store")
@declares(scope=Scope.ADMIN)
async def models(service: ServiceDependency) -> ModelsAnswer:
    """List the versions with their state, their categories, and the workers that loaded them.

    The service scans the store first: a new version is listed, but serves only after it is routed.
    """
    await service.lifecycle.rescan()
    return ModelsAnswer(
        models=[_describe(service, version) for version in service.registry.versions],
        shadows=[ShadowAnswer.of(comparison) for comparison in service.shadows],
    )


@router.post("/models/rescan", summary="Look for new versions")
@declares(scope=Scope.ADMIN)
async def rescan(service: ServiceDependency) -> RescanAnswer:
    """Scan the store for versions that were added while the service runs."""
    new = await service.lifecycle.rescan()
    return RescanAnswer(new=[ModelRef.of(key) for key in new])


@router.post("/models/{name}/{version}/load", summary="Load and verify a version")
@declares(scope=Scope.ADMIN)
async def load(
    request: Request, service: ServiceDependency, name: str, version: str
) -> VersionAnswer:
    """Read a version, verify every hash, warm it up and compare its golden images, on each worker.

    The answer comes when it is ready; other versions keep serving meanwhile. 409 says why a version
    cannot be loaded.
    """
    key = await _find(service, name, version)
    await service.rollout.load(
        key, author_of_change(request, "not said", "calibrated and loaded again")
    )
    return _describe(service, service.registry.version(name, version))


@router.post("/models/{name}/{version}/warm", summary="Load a version into memory")
@declares(scope=Scope.ADMIN)
async def warm(service: ServiceDependency, name: str, version: str) -> VersionAnswer:
    """Load a version into memory before a change of route, so that no part waits."""
    key = await _find(service, name, version)
    await service.lifecycle.warm([key])
    return _describe(service, service.registry.version(name, version))


@router.post("/models/{name}/{version}/unload", summary="Free a version's memory")
@declares(scope=Scope.ADMIN)
async def unload(service: ServiceDependency, name: str, version: str) -> VersionAnswer:
    """Finish a version's images, then free its memory. 409 if it serves a category."""
    key = await _find(service, name, version)
    await service.lifecycle.unload(key)
    return _describe(service, service.registry.version(name, version))


@router.post("/categories/{category}/warm", summary="Load a category's versions into memory")
@declares(scope=(Scope.DETECT, Scope.ADMIN))
async def warm_category(service: ServiceDependency, category: str) -> RouteAnswer:
    """Load every version that serves a category into memory; a station may do this, too."""
    assignment = _assignment(service, category)
    await service.lifecycle.warm(key for _, key in assignment.roles())
    return RouteAnswer.of(category, assignment)


@router.get("/categories/{category}/route", summary="Which versions serve a category")
@declares(scope=Scope.ADMIN)
async def read_route(service: ServiceDependency, category: str) -> RouteAnswer:
    """Return the stable, canary and shadow versions of a category."""
    return RouteAnswer.of(category, _assignment(service, category))


@router.post(
    "/categories/{category}/route",
    summary="Set which versions serve a category",
    responses=_WITH_BODY,
)
@declares(scope=Scope.ADMIN)
async def route(
    request: Request, service: ServiceDependency, category: str, body: RouteBody
) -> RouteAnswer:
    """Load and verify the new versions, switch to them atomically, and drain the previous ones.

    If a version cannot be loaded, nothing changes, and 409 says why. No request fails because of a
    change, and each is answered by one version.
    """
    for ref in filter(None, (body.stable, body.canary, body.shadow)):
        await _find(service, ref.name, ref.version)
    author = author_of_change(request, body.who, body.reason)
    await service.rollout.route(category, body.assignment(), author, keep=body.keep_previous)
    return RouteAnswer.of(category, _assignment(service, category))


@router.get("/categories/{category}/threshold", summary="Thresholds of a category")
@declares(scope=Scope.ADMIN)
async def read_threshold(
    service: ServiceDependency,
    category: str,
    model: Annotated[
        str | None, Query(description="name/version; by default the stable one")
    ] = None,
) -> ThresholdAnswer:
    """Return the current and the calibrated thresholds, and all changes."""
    return _threshold(service, category, _chosen(service, category, model))


@router.put(
    "/categories/{category}/threshold",
    summary="Set a threshold",
    responses=_WITH_BODY,
)
@declares(scope=Scope.ADMIN)
async def set_threshold(
    request: Request, service: ServiceDependency, category: str, body: ThresholdBody
) -> ThresholdAnswer:
    """Set the threshold of one version from the next image on; its weights do not change.

    It applies to one version only, because raw scores of other versions are not comparable.
    """
    key = body.model.key if body.model else _assignment(service, category).stable
    try:
        threshold = Threshold(
            threshold=body.threshold,
            review_threshold=body.review_threshold,
            who=body.who,
            reason=body.reason,
            at=datetime.now(UTC),
        )
    except ValueError as error:
        raise InvalidRequest(
            f"review_threshold must be below threshold ({body.threshold:g}), "
            f"got {body.review_threshold:g}"
        ) from error
    author = author_of_change(request, body.who, body.reason)
    await service.rollout.set_threshold(category, key, threshold, author)
    return _threshold(service, category, key)


@router.delete("/categories/{category}/threshold", summary="Restore the calibrated threshold")
@declares(scope=Scope.ADMIN)
async def reset_threshold(
    request: Request,
    service: ServiceDependency,
    category: str,
    who: Annotated[Who, Query()],
    reason: Annotated[Reason, Query()],
    model: Annotated[
        str | None, Query(description="name/version; by default the stable one")
    ] = None,
) -> ThresholdAnswer:
    """Restore the threshold of the checkpoint's calibration."""
    key = _chosen(service, category, model)
    author = author_of_change(request, who, reason)
    await service.rollout.set_threshold(category, key, None, author)
    return _threshold(service, category, key)


async def _find(service: Service, name: str, version: str) -> CheckpointKey:
    """Find a version after a scan of the store."""
    await service.lifecycle.rescan()
    return service.registry.version(name, version).key


def _assignment(service: Service, category: str) -> Assignment:
    assignments = service.registry.assignments
    if category not in assignments:
        raise NoSuchCategory(
            f"no checkpoint serves the category {category[:100]!r}; "
            f"have: {', '.join(sorted(assignments)) or 'none'}"
        )
    return assignments[category]


def _chosen(service: Service, category: str, model: str | None) -> CheckpointKey:
    if model is None:
        return _assignment(service, category).stable
    name, _, version = model.partition("/")
    return service.registry.version(name, version).key


def _describe(service: Service, version: Version) -> VersionAnswer:
    key = version.key
    assignments = service.registry.assignments
    serves = []
    for category, role in service.registry.roles(key):
        canary = assignments[category].canary
        share = canary.share if canary and role is Role.CANARY else None
        serves.append(ServesAnswer(category=category, role=role, share=share))
    return VersionAnswer.of(
        version,
        service.lifecycle.state(key),
        service.lifecycle.problem(key),
        serves,
        [c for c, keys in service.registry.contested.items() if key in keys],
        service.lifecycle.residents(key),
        service.replicas(key),
        asyncio.get_running_loop().time(),
    )


def _threshold(service: Service, category: str, key: CheckpointKey) -> ThresholdAnswer:
    rollout, registry = service.rollout, service.registry
    override = rollout.override(category, key)
    in_force: dict[str, Any] = rollout.threshold(category, key)
    route = registry.route_of(category, key, Role.STABLE)
    history = rollout.history(category)[:_HISTORY]
    return ThresholdAnswer(
        category=category,
        model=ModelRef.of(key),
        **in_force,
        calibrated=ThresholdsAnswer(**rollout.calibrated(category, key)),
        set_by=override and SetAnswer.of(override),
        promise=route.promise if route else "",
        history=[ChangeAnswer.of(record) for record in history],
    )

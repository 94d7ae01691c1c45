"""Lookout for Vision's projects and models, which clients look up and start before they detect.

A category is a project, and the versions of its checkpoint are its models: a HOSTED model answers,
a TRAINED one is only in the store. StartModel and StopModel change nothing, because operators
choose which version answers (`POST /categories/{category}/route`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query

from service.api.lookout.schemas import (
    LATEST,
    PREFIX,
    PROJECT_RESPONSES,
    START_RESPONSES,
    DescribeModelResponse,
    DescribeProjectResponse,
    HostingResponse,
    HostingStatus,
    ListModelsResponse,
    ListProjectsResponse,
    ModelDescription,
    ProjectDescription,
    StartModelBody,
)
from service.api.service import Service, ServiceDependency
from service.api.small_bodies import SmallBodyRoute
from service.errors import Conflict, InvalidRequest, NoSuchVersion
from service.http.declaration import Scope, declares
from service.versions.catalogue import Version

router = APIRouter(tags=["lookout for vision"], route_class=SmallBodyRoute)

T = TypeVar("T")
MaxResults = Annotated[int, Query(alias="maxResults", ge=1, le=100)]
NextToken = Annotated[str | None, Query(alias="nextToken", max_length=2048)]

_ARN = "arn:aws:lookoutvision:local:000000000000:"
_PROJECTS = PREFIX + "projects"
_PROJECT = _PROJECTS + "/{project}"
_MODELS = "/2020-11-20/projects/{project}/models"
_MODEL = _MODELS + "/{version}"


@router.get(
    _PROJECTS,
    summary="ListProjects",
    responses=PROJECT_RESPONSES,
    response_model_exclude_none=True,
)
@declares(scope=Scope.DETECT)
async def list_projects(
    service: ServiceDependency, max_results: MaxResults = 100, next_token: NextToken = None
) -> ListProjectsResponse:
    """List the categories."""
    names, token = _page(sorted(service.registry.assignments), max_results, next_token)
    return ListProjectsResponse(
        Projects=[_project(service, name) for name in names], NextToken=token
    )


@router.get(
    _PROJECT,
    summary="DescribeProject",
    responses=PROJECT_RESPONSES,
    response_model_exclude_none=True,
)
@declares(scope=Scope.DETECT)
async def describe_project(service: ServiceDependency, project: str) -> DescribeProjectResponse:
    """Describe a category."""
    return DescribeProjectResponse(ProjectDescription=_project(service, project))


@router.get(
    _MODELS, summary="ListModels", responses=PROJECT_RESPONSES, response_model_exclude_none=True
)
@declares(scope=Scope.DETECT)
async def list_models(
    service: ServiceDependency,
    project: str,
    max_results: MaxResults = 100,
    next_token: NextToken = None,
) -> ListModelsResponse:
    """List the versions of the checkpoint that serves a category."""
    versions, token = _page(_versions(service, project), max_results, next_token)
    return ListModelsResponse(
        Models=[_model(service, project, version) for version in versions], NextToken=token
    )


@router.get(
    _MODEL, summary="DescribeModel", responses=PROJECT_RESPONSES, response_model_exclude_none=True
)
@declares(scope=Scope.DETECT)
async def describe_model(
    service: ServiceDependency, project: str, version: str
) -> DescribeModelResponse:
    """Describe a version, or `latest`; clients can send images to a HOSTED one."""
    model = _find(service, project, version)
    return DescribeModelResponse(ModelDescription=_model(service, project, model))


@router.post(_MODEL + "/start", status_code=202, summary="StartModel", responses=START_RESPONSES)
@declares(scope=Scope.DETECT)
async def start_model(
    service: ServiceDependency, project: str, version: str, body: StartModelBody
) -> HostingResponse:
    """Return whether a version accepts images; a serving version is already started."""
    return HostingResponse(Status=_hosting(service, project, version))


@router.post(_MODEL + "/stop", status_code=202, summary="StopModel", responses=START_RESPONSES)
@declares(scope=Scope.DETECT)
async def stop_model(service: ServiceDependency, project: str, version: str) -> HostingResponse:
    """Answer as StartModel; a serving version keeps serving."""
    return HostingResponse(Status=_hosting(service, project, version))


def _hosting(service: Service, project: str, version: str) -> HostingStatus:
    model = _find(service, project, version)
    status = _status(service, project, model)
    if status == "TRAINED":
        raise Conflict(
            f"version {model.key.version} does not serve {project!r}, and only an operator may "
            f"route it there: POST /categories/{project}/route"
        )
    return status


def _status(service: Service, project: str, version: Version) -> HostingStatus:
    key = version.key
    assignment = service.registry.assignments[project]
    canary = assignment.canary and assignment.canary.checkpoint
    if key not in {assignment.stable, canary}:
        return "TRAINED"
    if any(refusal.checkpoint == key for refusal in service.registry.refusals):
        return "HOSTING_FAILED"
    return "HOSTED" if service.readiness().ready else "STARTING_HOSTING"


def _versions(service: Service, project: str) -> list[Version]:
    """Return the models of a project. Raises `NoSuchCategory`."""
    assignments = service.registry.assignments
    if project not in assignments:
        service.registry.find(project)  # raises NoSuchCategory
    name = assignments[project].stable.name
    return [
        version
        for version in service.registry.versions
        if version.key.name == name and project in version.categories
    ]


def _find(service: Service, project: str, version: str) -> Version:
    """Return a model of a project. Raises `NoSuchCategory` or `NoSuchVersion`."""
    versions = _versions(service, project)
    stable = service.registry.assignments[project].stable
    wanted = stable.version if version == LATEST else version
    for model in versions:
        if model.key.version == wanted:
            return model
    have = ", ".join(model.key.version for model in versions)
    raise NoSuchVersion(f"the project {project!r} has no model {version[:50]!r}; have: {have}")


def _project(service: Service, project: str) -> ProjectDescription:
    versions = _versions(service, project)
    return ProjectDescription(
        ProjectArn=f"{_ARN}project/{project}",
        ProjectName=project,
        CreationTimestamp=_seconds(versions[0].created) if versions else None,
    )


def _model(service: Service, project: str, version: Version) -> ModelDescription:
    status = _status(service, project, version)
    failed = status == "HOSTING_FAILED"
    return ModelDescription(
        ModelVersion=version.key.version,
        ModelArn=f"{_ARN}model/{project}/{version.key.version}",
        CreationTimestamp=_seconds(version.created),
        Status=status,
        StatusMessage=service.registry.problem(version.key) if failed else None,
    )


def _seconds(created: str) -> float | None:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return None


def _page(items: Sequence[T], most: int, token: str | None) -> tuple[Sequence[T], str | None]:
    """Return the items after a token, and the token of the next page."""
    if token is not None and not (token.isascii() and token.isdecimal() and len(token) < 10):
        raise InvalidRequest(
            f"nextToken is not from an earlier answer: got {token[:50]!r}, expected a NextToken"
        )
    start = int(token or 0)
    end = start + most
    return items[start:end], str(end) if end < len(items) else None

"""The Open Inference Protocol (v2) over HTTP: each category is a model.

`tensors` defines the tensors and `codec` their wire format; `health` has the open health routes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from service.api.limits import BodyLimits
from service.api.requests import count_images, options_of, read_body, unless_client_leaves
from service.api.service import Service, ServiceDependency
from service.api.v2 import openapi as v2_openapi
from service.api.v2.codec import (
    HEADER_LENGTH,
    TensorLimits,
    read_object,
    read_request,
    write_answer,
)
from service.api.v2.health import check_ready
from service.api.v2.schemas import (
    IndexAsked,
    IndexEntry,
    InferAnswer,
    InferAsked,
    ModelMetadata,
    ModelReady,
    Parameters,
    ServerMetadata,
)
from service.api.v2.tensors import (
    ANOMALY_MAP,
    OutputChoice,
    choose_outputs,
    input_metadata,
    output_metadata,
    read_images,
    write_outputs,
)
from service.errors import InvalidTensor
from service.http.compression import chosen_coding, compress
from service.http.decision_headers import decision_headers
from service.http.declaration import Scope, declares
from service.http.problems import problem_of, retry_headers
from service.http.request_log import problem_response, request_id_of
from service.inspection.inspect_part import PartRequest, find_version
from service.inspection.options import InspectOptions, PartFields
from service.inspection.result import Inspected, PartResult
from service.workers.jobs import Priority

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

EXTENSIONS = ["binary_tensor_data", "parameters", "schedule_policy", "model_repository(index)"]
_PLATFORM = "mambaad_pytorch"
_MAX_INDEX_BYTES = 65_536
_USED_PARAMETERS = {"binary_data_output", "layout", "priority", "timeout"}
"""Parameters that the service uses; the answer repeats all others."""


@dataclass(frozen=True, slots=True)
class _Call:
    """An inference request after reading."""

    request: InferAsked
    part: PartRequest
    outputs: Sequence[OutputChoice]


@router.get("", summary="Server metadata", responses=v2_openapi.NO_ENTRY)
@declares(scope=Scope.DETECT)
async def server_metadata(request: Request) -> ServerMetadata:
    """Return the service's name, version and supported extensions of the protocol."""
    return ServerMetadata(name="mambaad", version=request.app.version, extensions=EXTENSIONS)


@router.get(
    "/models/{model}",
    summary="A category as a model",
    response_model_exclude_none=True,
    responses=v2_openapi.NO_MODEL,
)
@router.get(
    "/models/{model}/versions/{version}",
    summary="A category as a model",
    response_model_exclude_none=True,
    responses=v2_openapi.NO_MODEL,
)
@declares(scope=Scope.DETECT)
async def model_metadata(
    service: ServiceDependency, model: str, version: str | None = None
) -> ModelMetadata:
    """Describe a model's tensors."""
    route = find_version(service.registry, model, version, key="")
    answering = service.registry.answering(model)
    return ModelMetadata(
        name=model,
        versions=[route.checkpoint.version for route in answering],
        platform=_PLATFORM,
        inputs=input_metadata(),
        outputs=output_metadata(route.image_size),
    )


@router.head("/models/{model}/ready", include_in_schema=False)
@router.head("/models/{model}/versions/{version}/ready", include_in_schema=False)
@router.get(
    "/models/{model}/ready", summary="Does the model accept images?", responses=v2_openapi.NO_MODEL
)
@router.get("/models/{model}/versions/{version}/ready", responses=v2_openapi.NO_MODEL)
@declares(scope=Scope.DETECT, is_probe=True)
async def model_ready(
    service: ServiceDependency, model: str, version: str | None = None
) -> ModelReady:
    """Answer 200 when images of this category can be inspected, else the problem."""
    find_version(service.registry, model, version, key="")
    check_ready(service)
    return ModelReady(name=model, ready=True)


@router.post(
    "/repository/index",
    summary="All models",
    responses=v2_openapi.PROBLEMS,
    openapi_extra=v2_openapi.INDEX_BODY,
)
@declares(scope=Scope.DETECT)
async def repository_index(request: Request, service: ServiceDependency) -> list[IndexEntry]:
    """List the models, with the reason for those that cannot be used."""
    body = await read_body(request, _MAX_INDEX_BYTES)
    index = read_object(body, IndexAsked) if body.strip() else IndexAsked()
    registry = service.registry
    ready = {
        route.category: registry.answering(route.category) for route in service.registry.routes
    }
    entries = [
        IndexEntry(name=model, version=route.checkpoint.version, state="READY", reason="")
        for model, routes in ready.items()
        for route in routes
    ]
    if index.ready:
        return entries
    unavailable = [
        IndexEntry(
            name=model,
            version=assigned.stable.version,
            state="UNAVAILABLE",
            reason=registry.problem(assigned.stable) or "not in the store",
        )
        for model, assigned in sorted(registry.assignments.items())
        if model not in ready
    ]
    return [*entries, *unavailable]


@router.post(
    "/models/{model}/infer",
    summary="Inspect images in a tensor",
    response_model=InferAnswer,
    responses=v2_openapi.PROBLEMS,
    openapi_extra=v2_openapi.INFER_BODY,
)
@router.post(
    "/models/{model}/versions/{version}/infer",
    summary="Inspect images in a tensor",
    response_model=InferAnswer,
    responses=v2_openapi.PROBLEMS,
    openapi_extra=v2_openapi.INFER_BODY,
)
@declares(inspects=True, scope=Scope.DETECT)
async def infer(
    request: Request, service: ServiceDependency, model: str, version: str | None = None
) -> Response:
    """Inspect one or several images, all or none.

    Tensors cannot contain an error, so if one image fails, the request fails with its problem.
    """
    base = options_of(request)
    limits = service.limits
    deadline = service.inspect_part.deadline(base)
    body = await read_body(request, limits.max_request_bytes, deadline)
    part = PartRequest(model, [], base, request_id_of(request.scope), version)
    call = await asyncio.to_thread(_read, request, body, limits, part)
    count_images(request, len(call.part.views))
    return await unless_client_leaves(request, _infer(request, service, call))


def _read(request: Request, body: bytes, limits: BodyLimits, part: PartRequest) -> _Call:
    """Read the body; `part` comes from the path and the headers."""
    tensor_limits = TensorLimits(limits.max_files, limits.max_image_bytes)
    infer_request, tensors = read_request(body, request.headers.get(HEADER_LENGTH), tensor_limits)
    views = read_images(tensors, infer_request.parameters, limits.max_files)
    outputs = choose_outputs(infer_request.outputs, infer_request.parameters)
    options = replace(
        _options(infer_request, part.options),
        anomaly_map=any(choice.name == ANOMALY_MAP for choice in outputs),
    )
    return _Call(infer_request, replace(part, views=views, options=options), outputs)


def _options(infer_request: InferAsked, base: InspectOptions) -> InspectOptions:
    """Read the parameters of the schedule policy and of the part.

    The shorter time limit of parameters and headers applies.
    """
    timeout, priority = (_whole(infer_request.parameters, name) for name in ("timeout", "priority"))
    part = {name: infer_request.parameters.get(name) for name in PartFields.model_fields}
    try:
        fields = PartFields.model_validate(part)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise InvalidTensor(f"the parameter {fault['loc'][0]}: {fault['msg']}") from error
    return replace(
        base,
        timeout_s=base.within(timeout / 1e6) if timeout else base.timeout_s,
        priority=Priority.HIGH if priority == 1 else base.priority,
        part=fields,
    )


def _whole(parameters: Parameters, name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidTensor(f"{name} must be a whole number of 0 or more, got {str(value)[:50]!r}")
    return value


async def _infer(request: Request, service: Service, call: _Call) -> Response:
    result = await service.inspect_part(call.part)
    if result.errors:
        return _failed(result.errors, len(result.views), call.part.request_id)
    coding = chosen_coding(request.headers.get("accept-encoding", ""))
    return await asyncio.to_thread(_answer, call, result, coding)


def _failed(errors: dict[int, Exception], count: int, request_id: str) -> Response:
    problems = {index: problem_of(error, request_id) for index, error in errors.items()}
    # The highest status, so that a fault of the service does not look like the client's.
    worst = max(problems, key=lambda index: problems[index].status)
    problem, headers = problems[worst], retry_headers(errors[worst])
    if count > 1:
        of_images = [
            {"index": index, **of_image.model_dump(exclude_none=True)}
            for index, of_image in problems.items()
        ]
        detail = f"image {worst} of {count} (counted from 0) failed: {problem.detail}"
        problem = problem.model_copy(update={"detail": detail, "errors": of_images})
    return problem_response(problem, headers)


def _answer(call: _Call, result: PartResult, coding: str | None) -> Response:
    route, parameters = result.route, call.request.parameters
    response = InferAnswer(
        model_name=route.category,
        model_version=route.checkpoint.version,
        id=call.request.id,
        parameters={k: v for k, v in parameters.items() if k not in _USED_PARAMETERS} or None,
        outputs=[],
    )
    findings = [view.finding for view in result.views if isinstance(view, Inspected)]
    outputs = write_outputs(call.outputs, findings, route.image_size)
    content, header_length = write_answer(response, outputs)
    content, headers = compress(content, coding)
    headers |= decision_headers(result.decision)
    if header_length is None:
        return Response(content, headers=headers, media_type="application/json")
    headers[HEADER_LENGTH] = str(header_length)
    return Response(content, headers=headers, media_type="application/octet-stream")

"""The Open Inference Protocol (v2) over HTTP: each category is a model.

`tensors` defines the tensors and `codec` their wire format; `health` has the open health routes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request, Response

from service.api.limits import BodyLimits
from service.api.requests import count_images, options_of, read_body, unless_client_leaves
from service.api.service import Service, ServiceDependency
from service.api.submissions import (
    SubmissionFields,
    expect_part,
    inspect,
    record_headers,
    submission_of,
)
from service.api.v2 import openapi as v2_openapi
from service.api.v2.codec import (
    HEADER_LENGTH,
    TensorLimits,
    read_object,
    read_request,
    write_answer,
)
from service.api.v2.health import check_ready
from service.api.v2.parameters import (
    inspection_id_of,
    options_of_parameters,
    parameters_of_answer,
)
from service.api.v2.schemas import (
    IndexAsked,
    IndexEntry,
    InferAnswer,
    InferAsked,
    ModelMetadata,
    ModelReady,
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
from service.http.compression import chosen_coding, compress
from service.http.decision_headers import decision_headers
from service.http.declaration import Scope, declares
from service.http.problems import problem_of, retry_headers
from service.http.request_log import problem_response, request_id_of
from service.inspection.inspect_part import find_version
from service.inspection.request import PartRequest
from service.inspection.result import Inspected, PartResult

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

EXTENSIONS = ["binary_tensor_data", "parameters", "schedule_policy", "model_repository(index)"]
_PLATFORM = "mambaad_pytorch"
_MAX_INDEX_BYTES = 65_536


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
    expect_part(request, model)
    base = options_of(request)
    limits = service.limits
    deadline = service.inspect_part.deadline(base)
    body = await read_body(request, limits.max_request_bytes, deadline)
    part = PartRequest(model, [], base, request_id_of(request.scope), version, all_or_none=True)
    call = await asyncio.to_thread(_read, request, body, limits, part)
    expect_part(request, model, call.part.options.part)
    given = inspection_id_of(call.request.parameters)
    submission = submission_of(request, SubmissionFields(inspection_id=given))
    call = replace(call, part=replace(call.part, submission=submission))
    count_images(request, len(call.part.views))
    return await unless_client_leaves(request, _infer(request, service, call))


def _read(request: Request, body: bytes, limits: BodyLimits, part: PartRequest) -> _Call:
    """Read the body; `part` comes from the path and the headers."""
    tensor_limits = TensorLimits(limits.max_files, limits.max_image_bytes)
    infer_request, tensors = read_request(body, request.headers.get(HEADER_LENGTH), tensor_limits)
    views = read_images(tensors, infer_request.parameters, limits.max_files)
    outputs = choose_outputs(infer_request.outputs, infer_request.parameters)
    options = replace(
        options_of_parameters(infer_request.parameters, part.options),
        anomaly_map=any(choice.name == ANOMALY_MAP for choice in outputs),
    )
    return _Call(infer_request, replace(part, views=views, options=options), outputs)


async def _infer(request: Request, service: Service, call: _Call) -> Response:
    result = await inspect(request, service, call.part)
    if result.errors:
        return _failed(result, call.part.request_id)
    coding = chosen_coding(request.headers.get("accept-encoding", ""))
    return await asyncio.to_thread(_answer, call, result, coding)


def _failed(result: PartResult, request_id: str) -> Response:
    errors, worst, count = result.errors, result.worst_error, len(result.views)
    assert worst is not None
    problems = {index: problem_of(error, request_id) for index, error in errors.items()}
    problem = problems[worst]
    headers = {**retry_headers(errors[worst]), **record_headers(result)}
    if count > 1:
        of_images = [
            {"index": index, **of_image.model_dump(exclude_none=True)}
            for index, of_image in problems.items()
        ]
        detail = f"image {worst} of {count} (counted from 0) failed: {problem.detail}"
        problem = problem.model_copy(update={"detail": detail, "errors": of_images})
    return problem_response(problem, headers)


def _answer(call: _Call, result: PartResult, coding: str | None) -> Response:
    findings = [view.finding for view in result.views if isinstance(view, Inspected)]
    response = InferAnswer(
        model_name=call.part.category,
        model_version=result.checkpoint.version if result.checkpoint else "",
        id=call.request.id,
        parameters=parameters_of_answer(call.request.parameters, result),
        outputs=[],
    )
    size = None if result.route is None else result.route.image_size
    outputs = write_outputs(call.outputs, findings, size)
    content, header_length = write_answer(response, outputs)
    content, headers = compress(content, coding)
    headers |= decision_headers(result.decision) | record_headers(result)
    if header_length is None:
        return Response(content, headers=headers, media_type="application/json")
    headers[HEADER_LENGTH] = str(header_length)
    return Response(content, headers=headers, media_type="application/octet-stream")

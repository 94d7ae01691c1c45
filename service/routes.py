"""The HTTP routes; `openapi` says in words and examples what they take and answer."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect

from service import openapi
from service.errors import ClientGone, problem_of, retry_headers
from service.middleware import problem_response, request_id_of
from service.schemas import (
    CategoriesAnswer,
    CategoryAnswer,
    DetectAnswer,
    HeatmapKind,
    ImageAnswer,
    LiveAnswer,
    ReadyAnswer,
    RefusalAnswer,
    WorkerAnswer,
)
from service.serving import Service, ServiceDependency, unless_client_leaves
from service.uploads import DetectRequest, read_request

router = APIRouter()


@router.post(
    "/detect",
    tags=["inspection"],
    summary="Inspect one or several images",
    response_model=DetectAnswer,
    responses=openapi.DETECT_RESPONSES,
    openapi_extra=openapi.DETECT_BODY,
)
async def detect(
    request: Request,
    service: ServiceDependency,
    category: Annotated[str | None, Query(description=openapi.CATEGORY)] = None,
    heatmap: Annotated[HeatmapKind | None, Query(description=openapi.HEATMAP)] = None,
) -> Response:
    """Post images of one category as a form, or one image as the body.

    Several images are inspected independently. When at least one of them was, the answer is 200 and
    each image that was not has an `error` in place of its decision. When none was, the answer is
    the problem with the highest status, and its `errors` has each image's own.
    """
    try:
        asked = await read_request(request, category, heatmap, service.limits)
    except ClientDisconnect as error:
        raise ClientGone("the connection closed within the body") from error
    return await unless_client_leaves(
        request, _detect(service, asked, request_id_of(request.scope))
    )


async def _detect(service: Service, asked: DetectRequest, request_id: str) -> Response:
    route = service.registry.find(asked.category)
    results = await asyncio.gather(
        *(service.pipeline.attempt(route, upload, asked.heatmap) for upload in asked.uploads)
    )
    errors = [result for result in results if isinstance(result, Exception)]
    if len(errors) == len(results):
        return _failed(asked, errors, request_id)
    answers = [
        result
        if isinstance(result, ImageAnswer)
        else ImageAnswer(
            filename=upload.filename,
            category=route.category,
            error=problem_of(result, request_id),
        )
        for upload, result in zip(asked.uploads, results, strict=True)
    ]
    # Megabytes of base64 are written beside the loop and not on it.
    answer = await asyncio.to_thread(DetectAnswer(results=answers).model_dump_json)
    return Response(answer, media_type="application/json")


def _failed(asked: DetectRequest, errors: list[Exception], request_id: str) -> Response:
    problems = [problem_of(error, request_id) for error in errors]
    # The highest status: a service in trouble is never taken for a mistake of the client's.
    worst = max(range(len(problems)), key=lambda i: problems[i].status)
    problem = problems[worst]
    if len(problems) > 1:
        each = [
            {"filename": upload.filename, **one.model_dump(exclude_none=True)}
            for upload, one in zip(asked.uploads, problems, strict=True)
        ]
        problem = problem.model_copy(update={"errors": each})
    return problem_response(problem, retry_headers(errors[worst]))


@router.get("/categories", tags=["inspection"], summary="What can be inspected")
async def categories(service: ServiceDependency) -> CategoriesAnswer:
    """List the categories, with checkpoint, threshold and what the threshold promises."""
    return CategoriesAnswer(
        categories=[CategoryAnswer.of(route) for route in service.registry.routes],
        refused=[RefusalAnswer.of(refusal) for refusal in service.registry.refusals],
    )


@router.get("/livez", tags=["operations"], summary="Does the process answer?")
async def live() -> LiveAnswer:
    """Answer 200 as long as the process answers at all."""
    return LiveAnswer(live=True)


@router.get(
    "/readyz",
    tags=["operations"],
    summary="Can images be inspected?",
    response_model=ReadyAnswer,
    responses={503: {"model": ReadyAnswer, "description": "Not ready; `reasons` says why"}},
)
async def ready(service: ServiceDependency) -> Response:
    """Answer 200 once every worker is warm and at least one category can be inspected, else 503."""
    readiness = service.workers.readiness()
    answer = ReadyAnswer(
        ready=readiness.ready,
        reasons=list(readiness.reasons),
        workers=[
            WorkerAnswer(
                name=worker.plan.name,
                state=worker.state,
                reason=worker.reason,
                waiting=len(worker.batcher),
            )
            for worker in service.workers.workers
        ],
        refused=[RefusalAnswer.of(refusal) for refusal in service.registry.refusals],
    )
    return JSONResponse(answer.model_dump(mode="json"), 200 if readiness.ready else 503)


@router.get(
    "/metrics",
    tags=["operations"],
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: ServiceDependency) -> Response:
    """Write every metric in Prometheus' text format."""
    return Response(
        generate_latest(service.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )

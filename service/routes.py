"""The HTTP routes; `openapi` says in words and examples what they take and answer."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from service import openapi
from service.errors import ClientGone, problem_of, retry_headers
from service.middleware import problem_response, request_id_of
from service.pipeline import InspectOptions
from service.schemas import (
    CategoriesAnswer,
    CategoryAnswer,
    DetectAnswer,
    HeatmapKind,
    ImageAnswer,
    RefusalAnswer,
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
    route = service.registry.find(asked.category, canary_key=request_id)
    options = InspectOptions(asked.heatmap)
    results = await asyncio.gather(
        *(service.pipeline.attempt(route, upload, options) for upload in asked.uploads)
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

"""The HTTP routes `/detect`, `/detect/batch` and `/categories`; `openapi` documents them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from service.api import openapi
from service.api.detect.batch import DetectBatch, DetectDoorDependency, answer_of, inspect_batch
from service.api.detect.idempotency import Answered, Answers, digest_of, key_of
from service.api.detect.schemas import BatchAnswer, DetectAnswer, ImageAnswer
from service.api.documents import media_type_of
from service.api.posting import openapi as openapi_bodies
from service.api.posting.fields import FieldsInQuery, options_for
from service.api.posting.uploads import BodyKind, Posted, read_posting
from service.api.requests import count_images, options_of, unless_client_leaves
from service.api.schemas import CategoriesAnswer, CategoryAnswer, RefusalAnswer
from service.api.service import Service, ServiceDependency
from service.api.submissions import (
    expect_part,
    inspect,
    record_headers,
    submission_of,
    submissions_of_batch,
)
from service.http.decision_headers import decision_headers
from service.http.declaration import Scope, declares
from service.http.inspection_ids import request_to_inspect
from service.http.problems import problem_of, retry_headers
from service.http.request_log import problem_response, request_id_of
from service.inspection.options import InspectOptions
from service.inspection.request import PartRequest
from service.inspection.result import PartResult

router = APIRouter()

_FEW_RESULTS = 16


@router.post(
    "/detect",
    tags=["inspection"],
    summary="Inspect one or several images of a part",
    response_model=DetectAnswer,
    responses=openapi.DETECT_RESPONSES,
    openapi_extra=openapi_bodies.DETECT_BODY,
)
@declares(inspects=True, scope=Scope.DETECT)
async def detect(
    request: Request,
    service: ServiceDependency,
    door: DetectDoorDependency,
    query: FieldsInQuery,
) -> Response:
    """Post images of one part as a form or as JSON, or one image as the body.

    The images are inspected independently. If at least one was inspected, the answer is 200, and
    every other image is UNDECIDED with its `error`. If none was, the answer is the problem with the
    highest status, and `errors` lists each image's problem. `decision` and the header X-Decision
    combine all images as views of one part.
    """
    expect_part(request, query.category, query.part)
    options = options_of(request)
    deadline = service.inspect_part.deadline(options)
    posting = await read_posting(request, query, service.limits, deadline, BodyKind.PART)
    images = posting.images
    count_images(request, len(images))
    work = partial(_detect, request, service, images, options, request_id_of(request.scope))
    answering = _once(request, door.answers, images, deadline, work)
    return await unless_client_leaves(request, answering)


async def _detect(
    request: Request,
    service: Service,
    images: Sequence[Posted],
    base: InspectOptions,
    request_id: str,
) -> Answered:
    fields = images[0].fields  # the same for all views of one part
    expect_part(request, fields.category, fields.part)
    submission = submission_of(request, fields)
    category, options = fields.required_category(), options_for(fields, base)
    views = [image.source for image in images]
    part = PartRequest(category, views, options, request_id, submission=submission)
    result = await inspect(request, service, part)
    if result.failed:
        return Answered(_failed(images, result, request_id))
    answers = [
        answer_of(ImageAnswer, image, view, request_id)
        for image, view in zip(images, result.views, strict=True)
    ]
    return await _answer(DetectAnswer.of(answers, result), record_headers(result))


def _failed(images: Sequence[Posted], result: PartResult, request_id: str) -> Response:
    errors, worst = result.errors, result.worst_error
    assert worst is not None
    problems = [problem_of(error, request_id) for error in errors.values()]
    problem = problems[worst]
    if len(problems) > 1:
        of_images = [
            {"filename": image.filename, **of_image.model_dump(exclude_none=True)}
            for image, of_image in zip(images, problems, strict=True)
        ]
        problem = problem.model_copy(update={"errors": of_images})
    return problem_response(problem, {**retry_headers(errors[worst]), **record_headers(result)})


@router.post(
    "/detect/batch",
    tags=["inspection"],
    summary="Inspect many images",
    response_model=BatchAnswer,
    responses=openapi.BATCH_RESPONSES,
    openapi_extra=openapi_bodies.BATCH_BODY,
)
@declares(inspects=True, has_many_parts=True, scope=Scope.DETECT)
async def detect_batch(
    request: Request,
    service: ServiceDependency,
    door: DetectDoorDependency,
    query: FieldsInQuery,
) -> Response:
    """Post many images, each with its own fields, as JSON or a form.

    If the request is valid, the answer is 200 with one result for each image in the posted order,
    and `counts` by decision. An image that was not inspected is UNDECIDED; its `error` contains the
    status that `POST /detect` would answer. Images wait for room in the queue instead of being
    refused, until the request's time is over.
    """
    expect_part(request, query.category, query.part)
    options = options_of(request)
    deadline = door.batches.deadline(options)
    body = door.batches.body
    images = (await read_posting(request, query, body, deadline, BodyKind.BATCH)).images
    count_images(request, len(images))
    submissions = submissions_of_batch(request, [image.fields for image in images])
    batch = DetectBatch(images, submissions, options, request_id_of(request.scope))

    async def work() -> Answered:
        requested = request_to_inspect(request.scope)
        if requested is not None:
            requested.handed_over = True  # each of its parts is recorded by itself
        return await _answer(await inspect_batch(service, door, batch))

    answering = _once(request, door.answers, images, deadline, work)
    return await unless_client_leaves(request, answering)


async def _once(
    request: Request,
    answers: Answers,
    images: Sequence[Posted],
    deadline: float,
    work: Callable[[], Awaitable[Answered]],
) -> Response:
    """Do the work, or return the answer of an earlier request with the same Idempotency-Key."""
    key = key_of(request)
    if key is None:
        return (await work()).response
    kind = media_type_of(request.headers.get("content-type", ""))
    digest = await digest_of(request.url.path, kind, images)
    return await answers.once(key, digest, deadline, work)


async def _answer(
    answer: DetectAnswer | BatchAnswer, headers: Mapping[str, str] | None = None
) -> Answered:
    # Megabytes of base64 are serialized in a thread; a few numbers on the event loop.
    large = len(answer.results) > _FEW_RESULTS or any(r.heatmap for r in answer.results)
    write = partial(to_json, answer)  # writes bytes without an equally large string
    content = await asyncio.to_thread(write) if large else write()
    headers = {**decision_headers(answer.decision), **(headers or {})}
    response = Response(content, headers=headers, media_type="application/json")
    return Answered(response, [r.error.status for r in answer.results if r.error])


@router.get("/categories", tags=["inspection"], summary="Categories that can be inspected")
@declares(scope=Scope.DETECT)
async def categories(service: ServiceDependency) -> CategoriesAnswer:
    """List the categories with their checkpoint, threshold and its promise."""
    registry = service.registry
    contested = registry.contested
    return CategoriesAnswer(
        categories=[
            CategoryAnswer.of(
                route,
                registry.also_claimed_by(route.category),
                contested=route.category in contested,
            )
            for route in registry.routes
        ],
        refused=[RefusalAnswer.of(refusal) for refusal in registry.refusals],
    )

"""The HTTP routes that inspect; `openapi` says in words and examples what they answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from service.api import openapi
from service.api.detect import openapi as openapi_bodies
from service.api.detect.batch import Batch, DetectDoorDependency, answer_of, inspect_batch
from service.api.detect.fields import AskedInText, options_for
from service.api.detect.idempotency import Answered, Answers, digest_of, key_of
from service.api.detect.schemas import BatchAnswer, DetectAnswer
from service.api.detect.uploads import Posted, posted_images
from service.api.documents import media_type_of
from service.api.requests import count_images, options_of, unless_client_leaves
from service.api.schemas import CategoriesAnswer, CategoryAnswer, RefusalAnswer
from service.api.service import Service, ServiceDependency
from service.http.decision_headers import decision_headers
from service.http.declaration import Scope, declares
from service.http.problems import problem_of, retry_headers
from service.http.request_log import problem_response, request_id_of
from service.inspection.inspect_part import PartRequest
from service.inspection.options import InspectOptions

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
    asked: Annotated[AskedInText, Query()],
) -> Response:
    """Post images of one category as a form, as JSON, or one image as the body.

    Several images are inspected independently. When at least one of them was, the answer is 200 and
    each image that was not is UNDECIDED, with its `error`. When none was, the answer is the problem
    with the highest status, and its `errors` has each image's own. `decision` and the header
    X-Decision stand for all images as views of one part.
    """
    options = options_of(request)
    deadline = service.inspect_part.deadline(options)
    images = await posted_images(request, asked, service.limits, deadline, each=False)
    count_images(request, len(images))
    work = partial(_detect, service, images, options, request_id_of(request.scope))
    answering = _once(request, door.answers, images, deadline, work)
    return await unless_client_leaves(request, answering)


async def _detect(
    service: Service, images: Sequence[Posted], base: InspectOptions, request_id: str
) -> Answered:
    asked = images[0].asked  # the same for all: they are views of one part
    category, options = asked.required_category(), options_for(asked, base)
    views = [image.source for image in images]
    result = await service.inspect_part(PartRequest(category, views, options, request_id))
    errors = list(result.errors.values())
    if len(errors) == len(images):
        return Answered(_failed(images, errors, request_id))
    found = zip(images, result.views, strict=True)
    return await _answer(DetectAnswer.of([answer_of(*one, request_id) for one in found]))


def _failed(images: Sequence[Posted], errors: list[Exception], request_id: str) -> Response:
    problems = [problem_of(error, request_id) for error in errors]
    # The highest status: a service in trouble is never taken for a mistake of the client's.
    worst = max(range(len(problems)), key=lambda i: problems[i].status)
    problem = problems[worst]
    if len(problems) > 1:
        each = [
            {"filename": image.filename, **one.model_dump(exclude_none=True)}
            for image, one in zip(images, problems, strict=True)
        ]
        problem = problem.model_copy(update={"errors": each})
    return problem_response(problem, retry_headers(errors[worst]))


@router.post(
    "/detect/batch",
    tags=["inspection"],
    summary="Inspect many images",
    response_model=BatchAnswer,
    responses=openapi.BATCH_RESPONSES,
    openapi_extra=openapi_bodies.BATCH_BODY,
)
@declares(inspects=True, scope=Scope.DETECT)
async def detect_batch(
    request: Request,
    service: ServiceDependency,
    door: DetectDoorDependency,
    asked: Annotated[AskedInText, Query()],
) -> Response:
    """Post many images, each with fields of its own, as JSON or a form.

    The answer is 200 whenever the request itself was understood, with one result for each image in
    the order posted, and `counts` by decision: an image that was not inspected is UNDECIDED, with
    its `error` (and the status that `POST /detect` would have answered) in its result. Images wait
    for room instead of being refused; what is not inspected within the request's time is UNDECIDED.
    """
    options = options_of(request)
    deadline = door.batches.deadline(options)
    body = door.batches.body
    images = await posted_images(request, asked, body, deadline, each=True)
    count_images(request, len(images))
    batch = Batch(images, options, request_id_of(request.scope))

    async def work() -> Answered:
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
    """Do the work, unless the request's Idempotency-Key has its answer or will soon."""
    key = key_of(request)
    if key is None:
        return (await work()).response
    kind = media_type_of(request.headers.get("content-type", ""))
    digest = await digest_of(request.url.path, kind, images)
    return await answers.once(key, digest, deadline, work)


async def _answer(answer: DetectAnswer | BatchAnswer) -> Answered:
    # Megabytes of base64 are written beside the loop and not on it; a few numbers are not worth it.
    large = len(answer.results) > _FEW_RESULTS or any(r.heatmap for r in answer.results)
    write = partial(to_json, answer)  # bytes at once, with no text between that is as large
    content = await asyncio.to_thread(write) if large else write()
    headers = decision_headers(answer.decision)
    response = Response(content, headers=headers, media_type="application/json")
    return Answered(response, [r.error.status for r in answer.results if r.error])


@router.get("/categories", tags=["inspection"], summary="What can be inspected")
@declares(scope=Scope.DETECT)
async def categories(service: ServiceDependency) -> CategoriesAnswer:
    """List the categories, with checkpoint, threshold and what the threshold promises."""
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

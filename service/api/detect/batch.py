"""`POST /detect/batch`: many images in one request, inspected a few at a time.

An image waits for room where `POST /detect` would refuse it. It is UNDECIDED only if it is invalid,
its worker died, or the request's time is over. One image's failure does not affect the others.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from service.api.detect.idempotency import Answers
from service.api.detect.schemas import BatchAnswer, ImageAnswer, PartAnswer, record_of
from service.api.limits import BodyLimits
from service.api.posting.fields import options_for
from service.api.posting.uploads import Posted
from service.api.service import Service
from service.errors import NoWorkerReady, ServiceError
from service.http.problems import problem_of
from service.inspection.options import InspectOptions
from service.inspection.request import PartRequest
from service.inspection.result import Inspected, PartResult, ViewResult, problem_of_part
from service.inspection.submission import Submission
from service.shutdown import Shutdown

logger = logging.getLogger("service.batches")

OneAnswer = TypeVar("OneAnswer", bound=ImageAnswer)


@dataclass(frozen=True, slots=True)
class DetectBatchLimits:
    """Limits of one batch request: bytes, time, and images inspected at once.

    A stopping service inspects its images for at most `leaving_s`.
    """

    body: BodyLimits
    timeout_s: float
    at_once: int
    leaving_s: float

    def deadline(self, options: InspectOptions) -> float:
        """Return the request's deadline, by the event loop's clock."""
        return options.deadline_within(self.timeout_s)


@dataclass(frozen=True, slots=True)
class DetectDoor:
    """What only `/detect` and `/detect/batch` need: limits, stored answers, the shutdown."""

    batches: DetectBatchLimits
    answers: Answers
    shutdown: Shutdown


async def _door(request: Request) -> DetectDoor:  # async: else it would run in a thread
    door: DetectDoor = request.app.state.detect
    return door


DetectDoorDependency = Annotated[DetectDoor, Depends(_door)]


@dataclass(frozen=True, slots=True)
class DetectBatch:
    """One request for many images."""

    images: Sequence[Posted]
    submissions: Sequence[Submission]
    options: InspectOptions
    request_id: str


async def inspect_batch(service: Service, door: DetectDoor, batch: DetectBatch) -> BatchAnswer:
    """Inspect every image of the batch; a failed image becomes UNDECIDED."""
    options = replace(batch.options, deadline=door.batches.deadline(batch.options), patient=True)
    turns = asyncio.Semaphore(door.batches.at_once)

    async def outcome(image: Posted, submission: Submission) -> PartAnswer:
        fields = image.fields
        of_image = options_for(fields, options)
        part = PartRequest(
            fields.category or "", [image.source], of_image, batch.request_id, submission=submission
        )
        try:
            await turns.acquire()
        except asyncio.CancelledError as error:  # the client has left before the part's turn
            _refuse(service, part, error)
            raise
        try:
            return await _outcome(service, door, image, part)
        finally:
            turns.release()

    outcomes = map(outcome, batch.images, batch.submissions)
    return BatchAnswer.of(await asyncio.gather(*outcomes))


async def _outcome(
    service: Service, door: DetectDoor, image: Posted, part: PartRequest
) -> PartAnswer:
    try:
        try:
            _check_leaving(door)
            image.fields.required_category()
        except ServiceError as error:
            _refuse(service, part, error)
            raise
        result = await service.inspect_part(part)
    except Exception as error:
        if not isinstance(error, ServiceError):
            logger.exception("reading an image of a batch failed")
        result = PartResult(None, [error], part.submission.inspection_id)
    (view,) = result.views
    return answer_of(PartAnswer, image, view, part.request_id, **record_of(result))


def _refuse(service: Service, part: PartRequest, error: BaseException) -> None:
    """Record a part that is not handed to the inspection."""
    if service.recorder is not None:
        service.recorder.refuse(part, *problem_of_part(error))


def answer_of(
    kind: type[OneAnswer],
    image: Posted,
    result: ViewResult,
    request_id: str,
    **more: Any,  # noqa: ANN401 - fields of the kind
) -> OneAnswer:
    """Return the answer for a posted image: its result, or why it was not inspected."""
    if isinstance(result, Inspected):
        return kind.of(image.filename, result, **more)
    problem, fields = problem_of(result, request_id), image.fields
    return kind.failed(image.filename, fields.category, fields.part, problem, **more)


def _check_leaving(door: DetectDoor) -> None:
    if door.shutdown.since_s > door.batches.leaving_s:
        raise NoWorkerReady("the service shut down before it inspected this image")

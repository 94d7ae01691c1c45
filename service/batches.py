"""Many images in one request: a few at a time, each with an outcome of its own.

An image waits for room where `POST /detect` would be refused for now, and is UNDECIDED only when
something is wrong with it, its batch was lost with a worker, or the request's time is over. Nothing
that happens to one image reaches another's outcome.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.errors import NoWorkerReady, ServiceError
from service.pipeline import InspectOptions
from service.problems import problem_of
from service.schemas import BatchAnswer, ImageAnswer
from service.serving import Service, options_for
from service.uploads import Posted

logger = logging.getLogger("service.batches")


@dataclass(frozen=True, slots=True)
class Batch:
    """One request for many images."""

    images: Sequence[Posted]
    options: InspectOptions
    request_id: str


async def inspect_batch(service: Service, batch: Batch) -> BatchAnswer:
    """Inspect every image of the batch; never raises for one of them."""
    options = replace(batch.options, deadline=service.batches.deadline(batch.options), patient=True)
    batch = replace(batch, options=options)
    turns = asyncio.Semaphore(service.batches.at_once)

    async def outcome(image: Posted) -> ImageAnswer:
        async with turns:
            return await _outcome(service, batch, image)

    return BatchAnswer.of(await asyncio.gather(*map(outcome, batch.images)))


async def _outcome(service: Service, batch: Batch, image: Posted) -> ImageAnswer:
    category = image.asked.category
    result: ImageAnswer | Exception
    try:
        _check_leaving(service)
        key = image.asked.part_id or batch.request_id
        route = service.registry.find(image.asked.required_category(), canary_key=key)
        source = await image.read()
        result = await service.pipeline.attempt(
            route, source, options_for(image.asked, batch.options)
        )
    except ServiceError as error:
        result = error
    except Exception as error:
        logger.exception("reading an image of a batch failed")
        result = error
    if isinstance(result, ImageAnswer):
        return result
    problem = problem_of(result, batch.request_id)
    return ImageAnswer.failed(image.filename, category, image.asked.part, problem)


def _check_leaving(service: Service) -> None:
    if service.workers.shutdown.since_s > service.batches.leaving_s:
        raise NoWorkerReady("the service is shutting down, and did not come to this image")

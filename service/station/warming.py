"""Warms a recipe: its categories are loaded on every worker, and have inspected a test image.

await warm_recipe(inspector, recipe=2, timeout_s=60)
"""

import asyncio
import logging

from service.client import InspectionError
from service.station.inspecting import Inspector
from service.station.posting import PASSING

logger = logging.getLogger("service.warming")

_RETRY_S = 0.5


async def warm_recipe(inspector: Inspector, recipe: int, timeout_s: float) -> None:
    """Warm all categories of a recipe at the same time; wait for a service that is away.

    Raises `InspectionError` for an error that waiting does not end, `TimeoutError` when time is up.
    """
    categories = [inspection.category for inspection in inspector.inspections_of(recipe)]
    async with asyncio.timeout(timeout_s):
        try:
            async with asyncio.TaskGroup() as group:
                for category in categories:
                    group.create_task(_warm(inspector, category, timeout_s))
        except* InspectionError as errors:
            raise _first(errors) from None


async def _warm(inspector: Inspector, category: str, timeout_s: float) -> None:
    """Warm a category. The test decides: a version beside the serving one may fail to load."""
    while True:
        try:
            await inspector.warm(category, timeout_s)
        except InspectionError as error:
            logger.info("category %s is not loaded on every worker: %s", category, error)
        try:
            await inspector.test(category)
        except PASSING as error:
            logger.info("category %s is not ready yet: %s", category, error)
            await asyncio.sleep(_RETRY_S)
        else:
            return


def _first(errors: BaseExceptionGroup[InspectionError]) -> InspectionError:
    error = errors.exceptions[0]
    assert isinstance(error, InspectionError)
    return error

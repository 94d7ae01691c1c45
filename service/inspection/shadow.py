"""Shadow versions score the inspected parts, for comparison with the answering version.

A shadow's result is used for nothing else. Shadow jobs have the lowest claim on the workers: none
is queued while a whole batch (shadow jobs included) waits, and a shadow that was unloaded to make
room is not loaded again until an operator warms it up.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from jaxtyping import UInt8

from model.checkpoints.key import CheckpointKey
from model.inspection import Category, ImageSize
from service.errors import ServiceError
from service.inspection.images.preparing import Prepared
from service.inspection.observers import ON_THE_LINE, Observer
from service.inspection.options import PartFields
from service.inspection.result import Inspected
from service.telemetry.metrics import Metrics
from service.versions.catalogue import Route
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import Finding, Item
from service.workers.protocol import Workers

logger = logging.getLogger("service.shadow")


@dataclass(slots=True)
class ShadowComparison:
    """How a shadow's results compare with the answers so far.

    Scores are from 0 to 1, each by its version's calibration; `changes` counts differing decisions
    as (answered, shadow), `agreements` equal ones.
    """

    category: Category
    answered_by: CheckpointKey
    shadow: CheckpointKey
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    compared: int = 0
    left_out: int = 0
    failed: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    agreements: Counter[str] = field(default_factory=Counter)
    total_difference: float = 0.0
    largest_difference: float = 0.0

    def add(self, answered: Finding, shadowed: Finding) -> bool:
        """Add a pair of results for one part; return whether their decisions agree."""
        difference = abs(shadowed.score - answered.score)
        self.compared += 1
        self.total_difference += difference
        self.largest_difference = max(self.largest_difference, difference)
        agree = answered.decision == shadowed.decision
        if agree:
            self.agreements[answered.decision.value] += 1
        else:
            self.changes[answered.decision.value, shadowed.decision.value] += 1
        return agree

    @property
    def mean_difference(self) -> float | None:
        """The mean distance between the scores; None before the first pair."""
        return self.total_difference / self.compared if self.compared else None


class Shadows(Observer):
    """Queues inspected parts for shadow versions. Not thread-safe: belongs to one event loop."""

    name = "shadow"
    origins = ON_THE_LINE

    def __init__(
        self, workers: Workers, metrics: Metrics, max_waiting: int, timeout_s: float
    ) -> None:
        self._workers = workers
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._comparisons: dict[
            tuple[Category, CheckpointKey, CheckpointKey], ShadowComparison
        ] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[ShadowComparison]:
        """Yield every comparison since the service started, sorted by category."""
        return iter([self._comparisons[key] for key in sorted(self._comparisons)])

    async def inspected(self, inspected: Inspected, route: Route, prepared: Prepared) -> None:
        """Offer the image to the route's shadow."""
        pixels = prepared.shadow_pixels
        if pixels is not None:
            self.offer(route, pixels, prepared.image_size, inspected.finding)

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Do nothing: there is no answer to compare with."""

    def offer(
        self, route: Route, pixels: UInt8[np.ndarray, "n 3 h w"], size: ImageSize, answered: Finding
    ) -> None:
        """Queue an image for the route's shadow, if it has one and workers are free; never waits.

        `pixels` are the inputs of the shadow's network.
        """
        shadow = route.shadow
        if shadow is None:
            return
        key = (route.category, route.checkpoint, shadow.checkpoint)
        comparison = self._comparisons.setdefault(key, ShadowComparison(*key))
        if self._busy() or not self._in_memory(shadow.checkpoint):
            comparison.left_out += 1
            self._count(route, "left out")
            return
        task = asyncio.create_task(self._score(route, shadow, pixels, size, answered, comparison))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _busy(self) -> bool:
        waiting = sum(worker.waiting for worker in self._workers.status())
        return max(waiting, len(self._tasks)) >= self._max_waiting

    def _in_memory(self, key: CheckpointKey) -> bool:
        return any(key in residents for residents in self._workers.residents().values())

    async def close(self) -> None:
        """Cancel the jobs that are being scored."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _score(
        self,
        route: Route,
        shadow: Route,
        pixels: UInt8[np.ndarray, "n 3 h w"],
        size: ImageSize,
        answered: Finding,
        comparison: ShadowComparison,
    ) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        item = Item(route.category, size, False, shadow.calibration, len(pixels))
        job = Job(
            shadow.checkpoint,
            item,
            pixels,
            now + self._timeout_s,
            loop.create_future(),
            now,
            priority=Priority.NORMAL,
        )
        try:
            self._workers.submit(job)
            shadowed = await job.future
        except ServiceError as error:
            comparison.failed += 1
            self._count(route, "failed")
            logger.debug("shadow %s failed on an image: %s", shadow.checkpoint, error)
            return
        agree = comparison.add(answered, shadowed)
        self._count(route, "agrees" if agree else "differs")
        difference = abs(shadowed.score - answered.score)
        self._metrics.shadow_difference.labels(route.category).observe(difference)

    def _count(self, route: Route, outcome: str) -> None:
        self._metrics.shadowed.labels(route.category, outcome).inc()

"""Shadow versions: what another version would have said of the parts that are inspected.

A shadow scores what was answered by another, and its answer goes nowhere but into the comparison.
It is the first to be left out when there is much to do: it queues nothing while a whole batch waits
already, itself included, and is not loaded at the cost of what answers: once it had to make room in
memory it stays out, until somebody warms it up.
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
from service.inspection.observers import Observer
from service.inspection.options import PartFields
from service.inspection.result import Inspected
from service.telemetry.metrics import Metrics
from service.versions.catalogue import Route
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import Finding, Item
from service.workers.protocol import Workers

logger = logging.getLogger("service.shadow")


@dataclass(slots=True)
class Comparison:
    """How a shadow's answers compare with those that were given, so far.

    Scores are on the 0 to 1 scale of each version's own calibration; `changes` counts pairs of
    decisions that differ, the one given first.
    """

    category: Category
    answered_by: CheckpointKey
    shadow: CheckpointKey
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    compared: int = 0
    left_out: int = 0
    failed: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    total_difference: float = 0.0
    largest_difference: float = 0.0

    def add(self, given: Finding, found: Finding) -> bool:
        """Take in a pair of answers about one part; return whether their decisions agree."""
        difference = abs(found.score - given.score)
        self.compared += 1
        self.total_difference += difference
        self.largest_difference = max(self.largest_difference, difference)
        agree = given.decision == found.decision
        if not agree:
            self.changes[given.decision.value, found.decision.value] += 1
        return agree

    @property
    def mean_difference(self) -> float | None:
        """The mean distance between the scores; None before the first."""
        return self.total_difference / self.compared if self.compared else None


class Shadows(Observer):
    """Has shadow versions score parts that were inspected. Belongs to one event loop."""

    name = "shadow"

    def __init__(
        self, workers: Workers, metrics: Metrics, max_waiting: int, timeout_s: float
    ) -> None:
        self._workers = workers
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._comparisons: dict[tuple[Category, CheckpointKey, CheckpointKey], Comparison] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Comparison]:
        """Yield every comparison since the service started, by category."""
        return iter([self._comparisons[key] for key in sorted(self._comparisons)])

    async def inspected(self, inspected: Inspected, prepared: Prepared) -> None:
        """Let the route's shadow, if it has one, score what was answered."""
        pixels = prepared.shadow_pixels
        if pixels is not None:
            self.offer(inspected.route, pixels, prepared.image_size, inspected.finding)

    async def failed(self, route: Route, error: Exception, part: PartFields) -> None:
        """Score nothing: there is no answer to compare with."""

    def offer(
        self, route: Route, pixels: UInt8[np.ndarray, "n 3 h w"], size: ImageSize, given: Finding
    ) -> None:
        """Have the route's shadow score an image, if there is one and time for it; never waits.

        `pixels` are the inputs of the shadow's own network.
        """
        shadow = route.shadow
        if shadow is None:
            return
        key = (route.category, route.checkpoint, shadow.checkpoint)
        comparison = self._comparisons.setdefault(key, Comparison(*key))
        if self._busy() or not self._in_memory(shadow.checkpoint):
            comparison.left_out += 1
            self._count(route, "left out")
            return
        task = asyncio.create_task(self._score(route, shadow, pixels, size, given, comparison))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _busy(self) -> bool:
        waiting = sum(worker.waiting for worker in self._workers.status())
        return max(waiting, len(self._tasks)) >= self._max_waiting

    def _in_memory(self, key: CheckpointKey) -> bool:
        return any(key in held for held in self._workers.residents().values())

    async def close(self) -> None:
        """Leave off what is being scored."""
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
        given: Finding,
        comparison: Comparison,
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
            found = await job.future
        except ServiceError as error:
            comparison.failed += 1
            self._count(route, "failed")
            logger.debug("shadow %s scored nothing: %s", shadow.checkpoint, error)
            return
        agree = comparison.add(given, found)
        self._count(route, "agrees" if agree else "differs")
        difference = abs(found.score - given.score)
        self._metrics.shadow_difference.labels(route.category).observe(difference)

    def _count(self, route: Route, outcome: str) -> None:
        self._metrics.shadowed.labels(route.category, outcome).inc()

"""Takes one image through all stages: decode, preprocess, queue, network, heatmap."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

from PIL.Image import Image

from service.errors import DeadlineExceeded, NoWorkerReady, QueueFull
from service.inspection.images.pictures import HeatmapKind, picture
from service.inspection.images.preparing import CostlyImage, Prepared, Preparer
from service.inspection.images.sources import Source, Upload
from service.inspection.observers import Observers
from service.inspection.options import InspectOptions
from service.inspection.result import Inspected, ViewResult
from service.inspection.threads import Threads
from service.versions.registry import Route
from service.workers.jobs import Job
from service.workers.pipe.messages import Finding, Item
from service.workers.protocol import Workers

T = TypeVar("T")

_PATIENCE_S = 0.02


class Pipeline:
    """Takes images through all stages; all computing is done in threads and workers.

    At most `max_preparing` images are being decoded, or wait for it, at once.
    """

    def __init__(
        self,
        workers: Workers,
        threads: ThreadPoolExecutor,
        preparer: Preparer,
        observers: Observers,
        max_preparing: int,
        timeout_s: float,
    ) -> None:
        self._workers = workers
        self._threads = Threads(threads)
        self._preparer = preparer
        self._observers = observers
        self._max_preparing = max_preparing
        self._timeout_s = timeout_s
        self._preparing = 0

    def deadline(self, options: InspectOptions) -> float:
        """Return the image's deadline, by the event loop's clock."""
        return options.deadline_within(self._timeout_s)

    async def attempt(
        self, route: Route, source: Source | Image, options: InspectOptions
    ) -> ViewResult:
        """Like `inspect`, but returns the exception."""
        try:
            return await self.inspect(route, source, options)
        except Exception as error:  # `inspect` has called the observers
            # The traceback's frames would keep the decoded image in memory.
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)

    async def inspect(
        self, route: Route, source: Source | Image, options: InspectOptions
    ) -> Inspected:
        """Inspect an image, encoded or decoded.

        Raises `ServiceError`. Cancelling drops the job.
        """
        try:
            return await self._inspect(route, source, options)
        except Exception as error:
            await self._observers.failed(route, error, options.part)
            raise

    async def _inspect(
        self, route: Route, source: Source | Image, options: InspectOptions
    ) -> Inspected:
        started = time.perf_counter()
        deadline = self.deadline(options)
        try:
            async with asyncio.timeout_at(deadline):
                prepared = await self._prepare(route, source, options, deadline)
                finding, queue_ms = await self._compute(route, prepared, options, deadline)
                drawn, heatmap_ms = await self._draw(prepared, finding, options)
                if drawn and options.hold_answer:
                    options.hold_answer(len(drawn))
        except TimeoutError as error:
            raise DeadlineExceeded(self._late(options)) from error
        timings_ms = {**prepared.timings_ms, "queue": queue_ms, **finding.timings_ms}
        timings_ms |= {} if drawn is None else {"heatmap": heatmap_ms}
        timings_ms["total"] = (time.perf_counter() - started) * 1000
        # In a batch, unrequested maps would pile up until the last image is done.
        if drawn is not None and not options.anomaly_map:
            finding = replace(finding, pixel_scores=None)
        inspected = Inspected(route, finding, prepared.size, timings_ms, options.part, drawn)
        await self._observers.inspected(inspected, prepared)
        return inspected

    async def _prepare(
        self, route: Route, source: Source | Image, options: InspectOptions, deadline: float
    ) -> Prepared:
        """Decode and preprocess, unless the queue would refuse the result."""
        size = route.image_size
        nbytes = 3 * size.height * size.width + _bytes_of(source)
        keep = options.heatmap is HeatmapKind.OVERLAY

        async def prepare() -> Prepared:
            self._workers.admit(route.checkpoint, deadline, options.priority, nbytes)
            if self._preparing >= self._max_preparing:
                raise QueueFull(
                    f"{self._preparing} images are already being decoded or wait for it"
                )
            decoding = self._threads.start(
                lambda: self._preparer.prepare(route, source, keep),
                self._end_preparing,
                source.size if isinstance(source, Image) else (0, 0),
            )
            self._preparing += 1
            prepared = await decoding
            if isinstance(prepared, CostlyImage):
                return await self._prepare_apart(prepared)
            return prepared

        return await _when_there_is_room(prepare, options)

    async def _prepare_apart(self, costly: CostlyImage) -> Prepared:
        self._preparing += 1
        try:
            return await self._preparer.prepare_apart(costly)
        finally:
            self._end_preparing()

    def _end_preparing(self) -> None:
        self._preparing -= 1

    async def _compute(
        self, route: Route, prepared: Prepared, options: InspectOptions, deadline: float
    ) -> tuple[Finding, float]:
        """Return the network's finding, and the milliseconds that the image waited in the queue."""
        loop = asyncio.get_running_loop()
        size = prepared.image_size
        job = Job(
            route.checkpoint,
            Item(
                route.category,
                size,
                options.wants_map,
                route.calibration,
                len(prepared.pixels),
                prepared.map_size,
            ),
            prepared.pixels,
            deadline,
            loop.create_future(),
            loop.time(),
            options.priority,
            held_bytes=0 if prepared.image is None else 3 * size.width * size.height,
        )

        async def submit() -> None:
            self._workers.submit(job)

        await _when_there_is_room(submit, options)
        return await job.future, job.queue_ms

    async def _draw(
        self, prepared: Prepared, finding: Finding, options: InspectOptions
    ) -> tuple[str | None, float]:
        """Return the requested picture, and the milliseconds that drawing took."""
        scores, size = finding.pixel_scores, prepared.size
        if scores is None or not options.wants_picture:
            return None, math.nan
        started = time.perf_counter()
        if options.draw:
            draw = partial(options.draw, finding, size)
        else:
            image, regions = prepared.image, finding.regions
            draw = partial(picture, options.heatmap, scores, size, image, regions)
        drawn = await self._threads.start(draw, size=size)
        return drawn, (time.perf_counter() - started) * 1000

    def _late(self, options: InspectOptions) -> str:
        if options.deadline is not None:
            return "the image was not inspected before the request's deadline"
        return f"the image was not inspected within {options.within(self._timeout_s):g} s"


async def _when_there_is_room(work: Callable[[], Awaitable[T]], options: InspectOptions) -> T:
    """Run `work`; with `options.patient`, repeat it until it is not refused for lack of room."""
    while True:
        try:
            return await work()
        except (QueueFull, NoWorkerReady):
            if not options.patient:
                raise
        await asyncio.sleep(_PATIENCE_S)


def _bytes_of(source: Source | Image) -> int:
    if isinstance(source, Image):
        return 3 * source.width * source.height
    return len(source.content) if isinstance(source, Upload) else source.size

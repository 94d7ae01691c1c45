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

from service.errors import DeadlineExceeded, NoWorkerReady, QueueFull, ServiceError
from service.inspection.images.maps import write_map
from service.inspection.images.pictures import HeatmapKind, picture
from service.inspection.images.preparing import CostlyImage, Prepared, Preparer
from service.inspection.images.sources import (
    Fingerprint,
    Source,
    content_of,
    fingerprint_of,
    size_of,
)
from service.inspection.options import InspectOptions
from service.inspection.result import Attempt, Inspected, forget_traceback
from service.inspection.threads import Threads
from service.versions.registry import Route
from service.workers.jobs import Job, Priority
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
        max_preparing: int,
        timeout_s: float,
    ) -> None:
        self._workers = workers
        self._threads = Threads(threads)
        self._preparer = preparer
        self._max_preparing = max_preparing
        self._timeout_s = timeout_s
        self._preparing = 0

    def deadline(self, options: InspectOptions) -> float:
        """Return the image's deadline, by the event loop's clock."""
        return options.deadline_within(self._timeout_s)

    async def attempt(
        self, route: Route, source: Source | Image, options: InspectOptions
    ) -> Attempt:
        """Like `inspect`, but returns the exception; an unexpected one with its traceback."""
        try:
            return await self.inspect(route, source, options)
        except ServiceError as error:
            return Attempt(forget_traceback(error))
        except Exception as error:
            return Attempt(error)

    async def inspect(
        self, route: Route, source: Source | Image, options: InspectOptions
    ) -> Attempt:
        """Inspect an image, encoded or decoded.

        Raises `ServiceError`. Cancelling drops the job.
        """
        started = time.perf_counter()
        deadline = self.deadline(options)
        try:
            async with asyncio.timeout_at(deadline):
                prepared, fingerprint = await self._prepare(route, source, options, deadline)
                finding, queue_ms = await self._compute(route, prepared, options, deadline)
                drawn, heatmap_ms = await self._draw(
                    finding, prepared.size, prepared.image, options
                )
                if drawn and options.hold_answer:
                    options.hold_answer(len(drawn))
                map_file = await self._write_map(finding, options)
        except TimeoutError as error:
            raise DeadlineExceeded(self._late(options)) from error
        timings_ms = {**prepared.timings_ms, "queue": queue_ms, **finding.timings_ms}
        timings_ms |= {} if drawn is None else {"heatmap": heatmap_ms}
        timings_ms["total"] = (time.perf_counter() - started) * 1000
        # In a batch, unrequested maps would pile up until the last image is done.
        if not options.anomaly_map and finding.pixel_scores is not None:
            finding = replace(finding, pixel_scores=None)
        inspected = Inspected(
            route.category,
            route.checkpoint,
            finding,
            prepared.size,
            timings_ms,
            options.part,
            drawn,
        )
        return Attempt(inspected, prepared.after_inspection(), fingerprint, map_file)

    async def draw_again(
        self,
        route: Route | None,
        source: Source | Image,
        earlier: Inspected,
        options: InspectOptions,
    ) -> str | None:
        """Return the requested picture of an earlier finding with its map.

        An overlay needs the `route`. Raises `ServiceError`.
        """
        deadline = self.deadline(options)
        try:
            async with asyncio.timeout_at(deadline):
                prepared = None
                if options.heatmap is HeatmapKind.OVERLAY:
                    assert route is not None
                    prepared, _ = await self._prepare(route, source, options, deadline)
                image = prepared.image if prepared else None
                drawn, _ = await self._draw(earlier.finding, earlier.size, image, options)
        except TimeoutError as error:
            raise DeadlineExceeded(self._late(options)) from error
        if drawn and options.hold_answer:
            options.hold_answer(len(drawn))
        return drawn

    async def _prepare(
        self, route: Route, source: Source | Image, options: InspectOptions, deadline: float
    ) -> tuple[Prepared, Fingerprint | None]:
        """Decode and preprocess, unless the queue would refuse the result."""
        size = route.image_size
        nbytes = 3 * size.height * size.width + size_of(source)
        keep = options.heatmap is HeatmapKind.OVERLAY

        def decode() -> tuple[Prepared | CostlyImage, Fingerprint | None]:
            prepared = self._preparer.prepare(route, source, keep)
            return prepared, fingerprint_of(content_of(source)) if options.fingerprints else None

        async def prepare() -> tuple[Prepared, Fingerprint | None]:
            self._workers.admit(route.checkpoint, deadline, options.priority, nbytes)
            most = self._max_preparing // (2 if options.priority is Priority.LOW else 1)
            if self._preparing >= max(1, most):
                raise QueueFull(
                    f"{self._preparing} images are already being decoded or wait for it"
                )
            px_size = source.size if isinstance(source, Image) else (0, 0)
            decoding = self._threads.start(decode, self._end_preparing, px_size)
            self._preparing += 1
            prepared, fingerprint = await decoding
            if isinstance(prepared, CostlyImage):
                prepared = await self._prepare_apart(prepared)
            return prepared, fingerprint

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
                options.maps_of,
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
        self, finding: Finding, size: tuple[int, int], image: Image | None, options: InspectOptions
    ) -> tuple[str | None, float]:
        """Return the requested picture, and the milliseconds that drawing took."""
        scores = finding.pixel_scores
        if scores is None or not options.wants_picture:
            return None, math.nan
        started = time.perf_counter()
        if options.draw:
            draw = partial(options.draw, finding, size)
        else:
            draw = partial(picture, options.heatmap, scores, size, image, finding.regions)
        drawn = await self._threads.start(draw, size=size)
        return drawn, (time.perf_counter() - started) * 1000

    async def _write_map(self, finding: Finding, options: InspectOptions) -> bytes | None:
        """Return the map as a file, if it is to be kept."""
        scores = finding.pixel_scores
        if scores is None or finding.decision not in options.maps_of:
            return None
        return await self._threads.start(lambda: write_map(scores))

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

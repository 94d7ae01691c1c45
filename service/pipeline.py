"""One image's way through the service: decode, preprocess, queue, network, heatmap."""

import asyncio
import base64
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, UInt8
from PIL.Image import Image

from model import rendering
from model.inspection import ImageSize
from service.batcher import Job
from service.channel import Finding, Item, Priority
from service.decoding import DecodedImage, ImageLimits, decode
from service.errors import DeadlineExceeded, QueueFull
from service.metrics import Metrics
from service.pool import WorkerPool
from service.record import Record
from service.registry import Route
from service.schemas import HeatmapKind, ImageAnswer
from service.uploads import Upload

T = TypeVar("T")

_PNG_COMPRESSION = 1  # a picture that is looked at once is not worth more time


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """An image as the network and, where wanted, the overlay need it; `size` is (width, height)."""

    size: tuple[int, int]
    pixels: UInt8[np.ndarray, "3 h w"]
    image: Image | None
    timings_ms: Mapping[str, float]


class Pipeline:
    """Takes images through the service; everything that computes runs in threads or workers.

    `max_preparing` bounds the images that are decoded, or wait to be, at once.
    """

    def __init__(
        self,
        workers: WorkerPool,
        threads: ThreadPoolExecutor,
        limits: ImageLimits,
        max_preparing: int,
        timeout_s: float,
        metrics: Metrics,
    ) -> None:
        self._workers = workers
        self._threads = threads
        self._limits = limits
        self._max_preparing = max_preparing
        self._timeout_s = timeout_s
        self._record = Record(metrics)
        self._preparing = 0

    async def attempt(
        self, route: Route, upload: Upload, heatmap: HeatmapKind
    ) -> ImageAnswer | Exception:
        """Inspect an image; what goes wrong with it is returned, so that others do not suffer."""
        try:
            return await self.inspect(route, upload, heatmap)
        except Exception as error:  # recorded already
            return error

    async def inspect(self, route: Route, upload: Upload, heatmap: HeatmapKind) -> ImageAnswer:
        """Inspect an image. Raises `ServiceError`; cancelling it drops its job."""
        try:
            return await self._inspect(route, upload, heatmap)
        except Exception as error:
            self._record.failed(route.category, error)
            raise

    async def _inspect(self, route: Route, upload: Upload, heatmap: HeatmapKind) -> ImageAnswer:
        started = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                prepared = await self._prepare(route, upload, heatmap, deadline)
                finding, queue_ms = await self._compute(route, prepared, heatmap, deadline)
                picture, heatmap_ms = await self._draw(prepared, finding, heatmap)
        except TimeoutError as error:
            raise DeadlineExceeded(f"not inspected within {self._timeout_s:g} s") from error
        timings_ms = {**prepared.timings_ms, "queue": queue_ms, **finding.timings_ms}
        timings_ms |= {} if picture is None else {"heatmap": heatmap_ms}
        timings_ms["total"] = (time.perf_counter() - started) * 1000
        self._record.inspected(route.category, route.calibration, finding, timings_ms)
        return ImageAnswer.of(upload.filename, route, prepared.size, finding, picture, timings_ms)

    async def _prepare(
        self, route: Route, upload: Upload, heatmap: HeatmapKind, deadline: float
    ) -> _Prepared:
        """Decode and preprocess, unless there is no place or no time for the result."""
        nbytes = len(upload.content)
        self._workers.admit(route.checkpoint, deadline, Priority.NORMAL, nbytes)
        if self._preparing >= self._max_preparing:
            raise QueueFull(f"{self._preparing} images are being decoded, and no more are taken")
        self._preparing += 1
        try:
            keep = heatmap is HeatmapKind.OVERLAY
            return await self._in_thread(lambda: self._decode(route, upload.content, keep))
        finally:
            self._preparing -= 1

    def _decode(self, route: Route, content: bytes, keep: bool) -> _Prepared:
        decoded: DecodedImage = decode(content, self._limits)
        started = time.perf_counter()
        pixels = route.preprocessing.to_tensor(decoded.image).numpy()
        timings_ms = {
            "decode": decoded.decode_ms,
            "preprocess": (time.perf_counter() - started) * 1000,
        }
        return _Prepared(decoded.image.size, pixels, decoded.image if keep else None, timings_ms)

    async def _compute(
        self, route: Route, prepared: _Prepared, heatmap: HeatmapKind, deadline: float
    ) -> tuple[Finding, float]:
        """Return what the network found, and the milliseconds spent waiting for it to be free."""
        loop = asyncio.get_running_loop()
        width, height = prepared.size
        job = Job(
            route.checkpoint,
            Item(
                route.category,
                ImageSize(height, width),
                heatmap is not HeatmapKind.NONE,
                route.calibration,
            ),
            prepared.pixels,
            deadline,
            loop.create_future(),
            loop.time(),
        )
        self._workers.submit(job)
        return await job.future, job.queue_ms

    async def _draw(
        self, prepared: _Prepared, finding: Finding, heatmap: HeatmapKind
    ) -> tuple[str | None, float]:
        """Return the base64 of the picture asked for, and the milliseconds it took."""
        scores = finding.pixel_scores
        if heatmap is HeatmapKind.NONE or scores is None:
            return None, math.nan
        started = time.perf_counter()
        picture = await self._in_thread(lambda: _picture(prepared, finding, scores))
        return picture, (time.perf_counter() - started) * 1000

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _picture(prepared: _Prepared, finding: Finding, scores: Float32[np.ndarray, "h w"]) -> str:
    if prepared.image is None:
        picture = rendering.heatmap(scores, prepared.size)
    else:
        picture = rendering.overlay(prepared.image, scores, finding.regions)
    encoded = BytesIO()
    picture.save(encoded, "PNG", compress_level=_PNG_COMPRESSION)
    return base64.b64encode(encoded.getbuffer()).decode("ascii")

"""A checkpoint on a worker's device: warms up, inspects batches, and isolates failing images."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from model.errors import DeviceLost, NonFiniteOutput, OutOfMemory
from model.inference.detector import Detector
from model.inference.engine import Divisible, name_of
from model.inspection import ImageSize, Inspection
from model.scoring.rendering import scale_scores
from service.workers.pipe.messages import Failure, FailureKind, Finding, Item, Outcome, Sharing

logger = logging.getLogger("service.loaded")

_SLOW_S = 2.0
"""After a warm-up pass this slow, no larger batch is tried."""
_GAIN = 0.95
"""A batch that took an image more than this share of the least time is the last that is tried."""
_TRIALS = 3
_WORTH_SHARING = 1.25
"""All threads compute a lone image if that is at least so many times as fast as one thread."""


class LoadedCheckpoint:
    """A detector on its device.

        loaded = LoadedCheckpoint(detector)
        seconds = loaded.warm_up([1, 2, 4], device.call)
        outcomes = loaded.inspect(items, pixels)

    `batch_limit` is the largest batch that fits memory; None until a larger one has failed.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.batch_limit: int | None = None
        self._latest = threading.local()

    @property
    def split(self) -> str | None:
        """Why the calling thread's latest batch was halved; None if it was not."""
        return getattr(self._latest, "split", None)

    @property
    def fits_lanes(self) -> bool:
        """Whether the engine can compute several batches in parallel threads."""
        return isinstance(self._detector.engine, Divisible)

    @property
    def engine(self) -> str:
        """The library that computes, and its precision."""
        return name_of(self._detector.engine)

    @property
    def nbytes(self) -> int:
        """The device memory of its weights, without a shared encoder.

        On a CPU it includes the baselines, which can be larger than the network.
        """
        engine = self._detector.engine
        baselines = self._detector.baselines.values() if engine.device == "cpu" else ()
        return engine.nbytes + sum(baseline.nbytes for baseline in baselines)

    def warm_up(
        self, sizes: Sequence[int], on_device: Callable[[Callable[[], float]], float]
    ) -> dict[int, float]:
        """Compute batches of black images of these sizes; return the seconds of each.

        Ends with the size from which on larger batches are no faster on a CPU. Later images then
        need no compiling and allocating. Each preparation step and each pass goes
        through `on_device`, so that other checkpoints' batches can run in between. A network that
        returns NaN is not refused here; its parts will get 500.
        """
        for step in self._detector.preparation(max(sizes)):
            on_device(lambda s=step: _timed(s))  # type: ignore[misc]
        seconds: dict[int, float] = {}
        for size in sizes:
            try:
                first = on_device(lambda n=size: self._pass(n))  # type: ignore[misc]
                # The first pass may include compiling; a slow later one is not worth repeating.
                is_slow = first > _SLOW_S and bool(seconds)
                again = first if is_slow else on_device(lambda n=size: self._pass(n))  # type: ignore[misc]
            except OutOfMemory:
                if size == 1:
                    raise
                self._shrink(size)
                break
            seconds[size] = min(first, again)
            if seconds[size] > _SLOW_S or self._gains_no_more(seconds):
                break
        return seconds

    def sharing(self, lane_s: float, on_device: Callable[[Callable[[], float]], float]) -> Sharing:
        """Return when all threads should compute one batch, given a lane's seconds for an image."""
        shared_s = min(on_device(lambda: self._pass(1)) for _ in range(_TRIALS))
        return Sharing.IDLE if lane_s > _WORTH_SHARING * shared_s else Sharing.NEVER

    def inspect(self, items: Sequence[Item], pixels: UInt8[np.ndarray, "b 3 h w"]) -> list[Outcome]:
        """Inspect a batch; if it fails, by halves, so that only the bad images fail.

        Raises `DeviceLost`, and any error after which the engine no longer answers: the worker
        then dies and is replaced.
        """
        self._latest.split = None
        return self._by_halves(items, pixels)

    def _by_halves(
        self, items: Sequence[Item], pixels: UInt8[np.ndarray, "b 3 h w"]
    ) -> list[Outcome]:
        try:
            return self._attempt(items, pixels)
        except Exception as error:
            if is_fatal(error) or not self._detector.engine.answers():
                raise
            out_of_memory = isinstance(error, OutOfMemory | MemoryError)
            if len(items) == 1 and not out_of_memory:
                return _failed(error, items)
            logger.warning("a batch of %d failed: %s", len(items), str(error))
        # Outside `except`, the error no longer keeps the failed pass's memory alive.
        if out_of_memory:
            self._shrink(len(items))
        if len(items) == 1:
            return self._once_more(items, pixels)
        self._latest.split = "out-of-memory" if out_of_memory else "failed"
        half = (len(items) + 1) // 2
        inputs = sum(item.inputs for item in items[:half])
        first = self._by_halves(items[:half], pixels[:inputs])
        return first + self._by_halves(items[half:], pixels[inputs:])

    def _once_more(
        self, items: Sequence[Item], pixels: UInt8[np.ndarray, "b 3 h w"]
    ) -> list[Outcome]:
        """Try a single image again with freed caches, and fewer of its tiles at once."""
        self._detector.inputs_at_once = max(1, self._detector.inputs_at_once // 2)
        try:
            return self._attempt(items, pixels)
        except Exception as error:
            if is_fatal(error):
                raise
            return _failed(error, items)

    def _attempt(
        self, items: Sequence[Item], pixels: UInt8[np.ndarray, "b 3 h w"]
    ) -> list[Outcome]:
        results = self._detector.attempt(
            pixels,
            [item.category for item in items],
            [item.image_size for item in items],
            [item.calibration for item in items],
        )
        engine = self.engine
        pairs = zip(items, results, strict=True)
        return [_outcome(item, result, engine) for item, result in pairs]

    def _pass(self, size: int) -> float:
        """Inspect so many black images, and return the seconds."""
        height, width = self._detector.preprocessing.image_size
        images = np.zeros((size, 3, height, width), dtype=np.uint8)
        category = self._detector.categories[0]
        started = time.perf_counter()
        sizes = [ImageSize(height, width)] * size
        results = self._detector.attempt(images, [category] * size, sizes)
        if size == 1 and isinstance(results[0], NonFiniteOutput):
            logger.error("warming up %s: %s", ", ".join(self._detector.categories), results[0])
        return time.perf_counter() - started

    def _gains_no_more(self, seconds: Mapping[int, float]) -> bool:
        """Return whether the latest batch took an image hardly less time than smaller ones did.

        Only on a CPU, where larger batches then gain nothing either: one of 16 images takes as long
        as a third of a start. A GPU's memory has to be tried.
        """
        *smaller, latest = (taken / size for size, taken in seconds.items())
        is_on_cpu = self._detector.engine.device == "cpu"
        return is_on_cpu and len(smaller) > 1 and latest > _GAIN * min(smaller)

    def _shrink(self, failed: int) -> None:
        """Remember that so many images do not fit, and free the engine's caches."""
        self.batch_limit = min(max(1, failed // 2), self.batch_limit or failed)
        self._detector.engine.release()


def _timed(step: Callable[[], None]) -> float:
    """Run a step, and return the seconds."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def is_fatal(error: Exception) -> bool:
    """Return whether this process can no longer use the device."""
    return isinstance(error, DeviceLost)


def batch_sizes(most: int) -> list[int]:
    """Return 1, 2, 4, ... and the largest allowed batch size.

    >>> batch_sizes(6)
    [1, 2, 4, 6]
    """
    return [*(2**i for i in range(most.bit_length()) if 2**i < most), most]


def _outcome(item: Item, result: Inspection | NonFiniteOutput, engine: str) -> Outcome:
    if isinstance(result, NonFiniteOutput):
        return _failure(result, item)
    scores = None
    if item.sends_map(result.decision):
        values = scale_scores(result.anomaly_map.values, item.calibration.pixel_score)
        scores = values.astype(np.float32)
    return Finding(
        result.decision,
        result.score,
        result.raw_score,
        result.threshold,
        result.regions,
        dict(result.timings_ms),
        scores,
        engine,
    )


def _failed(error: Exception, items: Sequence[Item]) -> list[Outcome]:
    return [_failure(error, item) for item in items]


def _failure(error: Exception, item: Item) -> Failure:
    if isinstance(error, NonFiniteOutput):
        logger.error("inspecting an image of %s: %s", item.category, error)
        return Failure(FailureKind.NON_FINITE)
    logger.error("inspecting an image of %s failed", item.category, exc_info=error)
    return Failure(FailureKind.FAILED)

"""A checkpoint on a worker's device: warmed up, and inspecting batches of which some may fail."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from model.errors import DeviceLost, NonFiniteOutput, OutOfMemory
from model.inference.detector import Detector
from model.inference.engine import Divisible
from model.inspection import ImageSize, Inspection
from model.scoring.rendering import scale_scores
from service.workers.pipe.messages import Failure, FailureKind, Finding, Item, Outcome, Sharing

logger = logging.getLogger("service.loaded")

_SLOW_S = 2.0
"""A warm-up pass that takes this long is followed by no larger one."""
_TRIALS = 3
_WORTH_SHARING = 1.25
"""How much sooner all threads must answer a lone image than one does, for them to be put to it."""


class LoadedCheckpoint:
    """A detector on its device.

    `batch_limit` is the largest batch that memory holds, once a larger one did not fit.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.batch_limit: int | None = None
        self._latest = threading.local()

    @property
    def split(self) -> str | None:
        """Why the latest batch of this very thread was computed in parts, if it was."""
        return getattr(self._latest, "split", None)

    @property
    def fits_lanes(self) -> bool:
        """Whether a thread of torch's own can compute a batch beside others'."""
        return isinstance(self._detector.engine, Divisible)

    @property
    def nbytes(self) -> int:
        """The device memory of its weights, without the encoder that it may share.

        On a CPU, that of the baselines, too: whitening at every place may outweigh the network.
        """
        engine = self._detector.engine
        known = self._detector.baselines.values() if engine.device == "cpu" else ()
        return engine.nbytes + sum(baseline.nbytes for baseline in known)

    def warm_up(
        self, sizes: Sequence[int], on_device: Callable[[Callable[[], float]], float]
    ) -> dict[int, float]:
        """Compute black images in batches of such sizes; return what each took, in seconds.

        No part pays for compiling and allocating then. Each pass goes through `on_device`, which
        lets those of others between, as each step of the preparation does that some engines take
        first. A network that answers with NaN stays: every part of its will be answered 500.
        """
        for step in self._detector.preparation(max(sizes)):
            on_device(lambda s=step: _timed(s))  # type: ignore[misc]
        seconds: dict[int, float] = {}
        for size in sizes:
            try:
                first = on_device(lambda n=size: self._pass(n))  # type: ignore[misc]
                # The very first pass may compile, which is no part of what a batch takes.
                once = first > _SLOW_S and bool(seconds)
                again = first if once else on_device(lambda n=size: self._pass(n))  # type: ignore[misc]
            except OutOfMemory:
                if size == 1:
                    raise
                self._shrink(size)
                break
            seconds[size] = min(first, again)
            if seconds[size] > _SLOW_S:
                break
        return seconds

    def sharing(self, lane_s: float, on_device: Callable[[Callable[[], float]], float]) -> Sharing:
        """Say when all threads should compute one batch, where a lane takes `lane_s` for an image.

        Two images side by side are done sooner than one after the other, unless all threads gain
        much for each.
        """
        shared_s = min(on_device(lambda: self._pass(1)) for _ in range(_TRIALS))
        return Sharing.IDLE if lane_s > _WORTH_SHARING * shared_s else Sharing.NEVER

    def inspect(self, items: Sequence[Item], pixels: UInt8[np.ndarray, "b 3 h w"]) -> list[Outcome]:
        """Inspect a batch; where it fails, by halves, so that only the bad images do.

        Raises what the device raises when it is beyond use: the worker dies, and is replaced.
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
        # From here on the error is gone, and with it all that the failed pass had allocated.
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
        """Try a single image again, now that what was cached is free; its tiles fewer at once."""
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
        found = self._detector.attempt(
            pixels,
            [item.category for item in items],
            [item.image_size for item in items],
            [item.calibration for item in items],
        )
        return [_outcome(item, one) for item, one in zip(items, found, strict=True)]

    def _pass(self, size: int) -> float:
        """Inspect so many black images and return the seconds it took."""
        height, width = self._detector.preprocessing.image_size
        images = np.zeros((size, 3, height, width), dtype=np.uint8)
        category = self._detector.categories[0]
        started = time.perf_counter()
        found = self._detector.attempt(images, [category] * size, [ImageSize(height, width)] * size)
        if size == 1 and isinstance(found[0], NonFiniteOutput):
            logger.error("warming up %s: %s", ", ".join(self._detector.categories), found[0])
        return time.perf_counter() - started

    def _shrink(self, failed: int) -> None:
        """Remember that so many images do not fit, and free what is only kept for later."""
        self.batch_limit = min(max(1, failed // 2), self.batch_limit or failed)
        self._detector.engine.release()


def _timed(step: Callable[[], None]) -> float:
    """Take a step and return the seconds it took."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def is_fatal(error: Exception) -> bool:
    """Say whether the device cannot be used any more by this process; out of memory it can."""
    return isinstance(error, DeviceLost)


def batch_sizes(most: int) -> list[int]:
    """Return 1, 2, 4, ... and the largest allowed."""
    return [*(2**i for i in range(most.bit_length()) if 2**i < most), most]


def _outcome(item: Item, found: Inspection | NonFiniteOutput) -> Outcome:
    if isinstance(found, NonFiniteOutput):
        return _failure(found, item)
    scores = None
    if item.wants_map:
        values = scale_scores(found.anomaly_map.values, item.calibration.pixel_score)
        scores = values.astype(np.float32)
    return Finding(
        found.decision,
        found.score,
        found.raw_score,
        found.threshold,
        found.regions,
        dict(found.timings_ms),
        scores,
    )


def _failed(error: Exception, items: Sequence[Item]) -> list[Outcome]:
    return [_failure(error, item) for item in items]


def _failure(error: Exception, item: Item) -> Failure:
    if isinstance(error, NonFiniteOutput):
        logger.error("inspecting an image of %s: %s", item.category, error)
        return Failure(FailureKind.NON_FINITE)
    logger.error("inspecting an image of %s failed", item.category, exc_info=error)
    return Failure(FailureKind.FAILED)

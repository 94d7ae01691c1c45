"""The networks of one worker: loads, verifies, warms up, inspects and unloads them."""

import gc
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import UInt8

from model.checkpoints import golden
from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store, StoredVersion
from model.errors import ModelError, OutOfMemory
from model.inference.detector import Detector
from model.inspection import Category
from model.runtimes.runtimes import Runtimes
from service.workers.child.checkpoint import LoadedCheckpoint, batch_sizes, is_fatal
from service.workers.child.threads import DeviceThread, process_bytes, return_free_memory
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import (
    BatchReply,
    BatchRequest,
    Failure,
    FailureKind,
    Finding,
    Load,
    LoadReply,
    LoadReport,
    Outcome,
    Sharing,
    Unload,
    UnloadReply,
    WorkerPlan,
    WorkerStats,
)

logger = logging.getLogger("service.inspector")


class Inspector:
    """The networks of one worker."""

    def __init__(
        self,
        plan: WorkerPlan,
        blocks: Sequence[SharedBlock],
        device: DeviceThread,
        runtimes: Runtimes,
    ) -> None:
        self._plan = plan
        self._blocks = blocks
        self._device = device
        self._store = Store(plan.weights_dir)
        self._runtimes = runtimes
        self._loaded: dict[CheckpointKey, LoadedCheckpoint] = {}
        self._weights = (0, 0)
        self._counting = threading.Lock()
        self._compute_s = 0.0

    def load(self, request: Load) -> LoadReply:
        """Load, verify and warm up a checkpoint; the reply has the reason of a failure."""
        try:
            reply = self._load(request)
        except Exception as error:
            if is_fatal(error):
                raise
            why = self._reason(request.checkpoint, error)
        else:
            return_free_memory()  # used for reading, and by an earlier load of the version
            return reply
        self._release_memory()  # outside `except`, where the error no longer refers to the network
        return LoadReply(request.id, why, self._stats())

    def _load(self, request: Load) -> LoadReply:
        key, started = request.checkpoint, time.monotonic()
        version, detector = self._runtimes.open(self._store.find(key.name, key.version))
        loaded = LoadedCheckpoint(detector)
        prior = request.prior
        sizes = sorted({1, prior.limit}) if prior else batch_sizes(self._plan.max_batch_size)
        in_lanes = self._plan.lanes > 1 and loaded.fits_lanes
        seconds = loaded.warm_up(sizes, partial(self._device.call, alone=not in_lanes))
        if prior:
            sharing = prior.sharing
        elif in_lanes:
            sharing = loaded.sharing(seconds[1], self._device.call)
        else:
            sharing = Sharing.ALWAYS
        difference = self._compare(version, detector)
        self._loaded[key] = loaded
        self._weigh()
        took_s = time.monotonic() - started
        report = LoadReport(loaded.nbytes, took_s, difference, sharing, loaded.engine)
        return LoadReply(request.id, report, self._stats(), seconds, loaded.batch_limit)

    def unload(self, request: Unload) -> UnloadReply:
        """Free a checkpoint."""
        self._loaded.pop(request.checkpoint, None)
        self._release_memory()
        self._weigh()
        return UnloadReply(request.id, self._stats())

    def inspect(self, request: BatchRequest) -> BatchReply:
        """Inspect a batch; every item fails if its checkpoint is not loaded."""
        loaded = self._loaded.get(request.checkpoint)
        if loaded is None:
            logger.error("a batch failed: checkpoint %s is not loaded", request.checkpoint)
            failures = (Failure(FailureKind.CHECKPOINT),) * len(request.items)
            return BatchReply(request.id, failures, self._stats())
        started = time.monotonic()
        pixels = self._blocks[request.block].array(request.pixels_shape, np.uint8)
        outcomes = self._put_maps(request, loaded.inspect(request.items, pixels))
        took_s = time.monotonic() - started
        with self._counting:
            self._compute_s += took_s if request.alone else took_s / self._plan.lanes
        return BatchReply(
            request.id, outcomes, self._stats(), split=loaded.split, batch_limit=loaded.batch_limit
        )

    def _compare(self, version: StoredVersion, detector: Detector) -> float | None:
        """Return the largest difference to the golden scores. Raises `ParityError`."""
        if not version.golden:
            return None

        def score(
            images: UInt8[np.ndarray, "B 3 H W"], categories: Sequence[Category]
        ) -> list[float]:
            return self._device.call(lambda: detector.raw_scores(images, categories))

        return golden.check(version.golden, score)

    def _put_maps(self, request: BatchRequest, outcomes: list[Outcome]) -> tuple[Outcome, ...]:
        """Move the maps from the outcomes into the block."""
        placed = [i for i, item in enumerate(request.items) if item.has_place]
        block = self._blocks[request.block]
        maps = block.maps(request.map_shapes, request.map_offsets)
        for place, i in zip(maps, placed, strict=True):
            outcome = outcomes[i]
            if isinstance(outcome, Finding) and outcome.pixel_scores is not None:
                place[:] = outcome.pixel_scores
                outcomes[i] = replace(outcome, pixel_scores=None)
        return tuple(outcomes)

    def _stats(self) -> WorkerStats:
        with self._counting:
            computed, self._compute_s = self._compute_s, 0.0
        on_cpu = self._plan.device == "cpu"
        device_bytes = process_bytes() if on_cpu else self._runtimes.held_bytes
        return WorkerStats(device_bytes, *self._weights, computed)

    def _release_memory(self) -> None:
        """Free the caches that unloaded networks have left."""
        gc.collect()
        self._runtimes.release()
        return_free_memory()

    def _weigh(self) -> None:
        """Count encoders and the bytes of all weights; too slow for every batch."""
        networks = sum(loaded.nbytes for loaded in self._loaded.values())
        encoders, nbytes = self._runtimes.encoders
        self._weights = (networks + nbytes, encoders)

    def _reason(self, key: CheckpointKey, error: Exception) -> str:
        """Return why a checkpoint cannot be loaded, without paths; log unexpected errors."""
        if isinstance(error, MemoryError | OutOfMemory) and self._plan.max_memory_bytes:
            return (
                f"it needs more memory than the {self._plan.max_memory_bytes} bytes that the "
                "worker may use (MAMBAAD_WORKERS__MAX_MEMORY_BYTES)"
            )
        if not isinstance(error, ModelError | OSError):
            logger.error("loading checkpoint %s failed", key, exc_info=error)
            return f"loading it failed with {type(error).__name__}; see the service's log"
        reason = str(error)
        for root in (self._store.root.resolve(), self._store.root):
            reason = reason.replace(str(root), "weights")
        return reason

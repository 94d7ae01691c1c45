"""What runs inside a worker: a process of its own that loads networks and computes batches.

It is spawned, never forked, and talks over one pipe. It leaves when the pipe closes or the process
that spawned it dies, whatever it is doing then.
"""

import logging
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

import numpy as np
import torch
from jaxtyping import UInt8

from model.checkpoint import Checkpoint, CheckpointStore
from model.detector import Detector
from model.errors import ModelError, NonFiniteOutput
from model.inspection import Inspection
from model.rendering import scale_scores
from service.channel import (
    BatchReply,
    BatchRequest,
    CannotStart,
    CheckpointKey,
    Failure,
    FailureKind,
    Finding,
    Item,
    Outcome,
    Ready,
    WorkerPlan,
)
from service.logs import configure_logging

logger = logging.getLogger(__name__)


def run(connection: Connection, plan: WorkerPlan) -> None:
    """Serve batches from the pipe until it closes; the entry point of the spawned process."""
    _leave_with_parent()
    configure_logging(plan.log_level, plan.log_format)
    missing = missing_device(plan.device)
    if missing:
        connection.send(CannotStart(missing))
        return
    torch.set_num_threads(plan.threads)  # the scan's CPU backend goes by it, too
    inspector = Inspector(plan)
    connection.send(Ready(os.getpid(), inspector.load_all()))
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        connection.send(inspector.inspect(request))


class Inspector:
    """The networks of one worker, loaded when first needed."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self._store = CheckpointStore(plan.weights_dir)
        self._loaded: dict[CheckpointKey, LoadedCheckpoint] = {}

    def load_all(self) -> dict[CheckpointKey, str]:
        """Load and warm up every checkpoint; return those that cannot be loaded, and why."""
        refused = {}
        for key in self._plan.checkpoints:
            try:
                self._get(key).warm_up()
            except Exception as error:
                if _is_fatal(error):
                    raise
                refused[key] = _reason(key, error)
        return refused

    def inspect(self, request: BatchRequest) -> BatchReply:
        """Inspect a batch; a checkpoint that cannot be loaded fails every item of it."""
        try:
            loaded = self._get(request.checkpoint)
        except Exception as error:
            if _is_fatal(error):
                raise
            logger.error("checkpoint: %s", _reason(request.checkpoint, error))  # noqa: TRY400
            failure = Failure(FailureKind.CHECKPOINT)
            return BatchReply(tuple(failure for _ in request.items))
        return BatchReply(tuple(loaded.inspect(request.items, request.pixels)))

    def _get(self, key: CheckpointKey) -> "LoadedCheckpoint":
        if key not in self._loaded:
            checkpoint = self._store.load(key.name, key.version)
            detector = _detector(checkpoint, self._plan)
            self._loaded[key] = LoadedCheckpoint(detector)
        return self._loaded[key]


class LoadedCheckpoint:
    """A detector on its device."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def warm_up(self) -> None:
        """Compute one black image, so that no part pays for compiling and allocating.

        A network that answers it with NaN stays: every part of its will be answered 500.
        """
        height, width = self._detector.preprocessing.image_size
        try:
            self._detector.anomaly_maps(torch.zeros(1, 3, height, width, dtype=torch.uint8))
        except NonFiniteOutput as error:
            logger.error("warming up %s: %s", ", ".join(self._detector.categories), error)  # noqa: TRY400

    def inspect(self, items: Sequence[Item], pixels: UInt8[np.ndarray, "b 3 h w"]) -> list[Outcome]:
        """Inspect a batch; where it fails, each image on its own, so that only the bad ones do.

        Raises what the device raises when it is beyond use: the worker dies, and is replaced.
        """
        try:
            inspections = self._detector.inspect(
                torch.from_numpy(pixels),
                [item.category for item in items],
                [item.image_size for item in items],
                [item.calibration for item in items],
            )
            return [_finding(item, found) for item, found in zip(items, inspections, strict=True)]
        except Exception as error:
            if _is_fatal(error):
                raise
            if len(items) == 1:
                return [_failure(error, items[0])]
        singles = (self.inspect(items[i : i + 1], pixels[i : i + 1]) for i in range(len(items)))
        return [outcome for single in singles for outcome in single]


def _finding(item: Item, found: Inspection) -> Finding:
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


def _detector(checkpoint: Checkpoint, plan: WorkerPlan) -> Detector:
    return Detector.from_checkpoint(checkpoint, device=plan.device, backend=plan.backend)


def missing_device(device: str) -> str | None:
    """Say what is wrong with a device that is not there; None for one that is."""
    if device == "cpu":
        return None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.removeprefix("cuda:")) < count:
        return None
    return f"cannot use {device}: torch {torch.__version__} finds {count} CUDA devices here"


def _reason(key: CheckpointKey, error: Exception) -> str:
    """Say why a checkpoint cannot be loaded, and log what the sentence leaves out."""
    if isinstance(error, ModelError | OSError):
        return str(error)
    logger.error("loading checkpoint %s failed", key, exc_info=error)
    return f"loading it failed with {type(error).__name__}; the service's log says more"


def _failure(error: Exception, item: Item) -> Failure:
    if isinstance(error, NonFiniteOutput):
        logger.error("inspecting an image of %s: %s", item.category, error)
        return Failure(FailureKind.NON_FINITE)
    logger.error("inspecting an image of %s failed", item.category, exc_info=error)
    return Failure(FailureKind.FAILED)


def _is_fatal(error: Exception) -> bool:
    """Say whether the device cannot be used any more by this process; out of memory it can."""
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, torch.AcceleratorError) and not out_of_memory


def _leave_with_parent() -> None:
    """Die with the parent, and only then: its terminal's Ctrl-C is for the parent to handle."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()

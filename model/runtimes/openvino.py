"""Opens stored versions with OpenVINO on a CPU, in the fastest precision whose scores hold."""

import logging
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path

import numpy as np

from model.checkpoints.agreement import PRECISIONS, holds
from model.checkpoints.checkpoint import Checkpoint
from model.checkpoints.manifest import Manifest
from model.checkpoints.store import StoredVersion
from model.engines.openvino.engine import BFLOAT16, FLOAT32, OpenvinoEngine
from model.engines.openvino.graphs import cache_folder, has_precision, processor
from model.engines.torch.engine import TorchEngine
from model.errors import BackendUnavailable
from model.inference.detector import Detector
from model.inference.engine import Engine
from model.runtimes.runtime import detector_of
from model.runtimes.speeds import Ways, chosen, file_in, measured
from model.runtimes.torch import TorchRuntime

logger = logging.getLogger(__name__)

AUTO, TORCH = "auto", "torch"
_SEVERAL = 4
_PACKAGES = ("openvino", "torch", "numba", "numpy")


class OpenvinoRuntime:
    """OpenVINO on a CPU, with `threads` threads; with `or_torch`, only where it is faster.

    `precision` is "float32", or "bfloat16" for it or float32, whichever the checkpoint's scores
    allow; "auto" takes bfloat16 where it is faster. With `or_torch`, a checkpoint without measured
    agreement is computed by torch.
    """

    def __init__(self, device: str, threads: int, precision: str, *, or_torch: bool) -> None:
        if device != "cpu":
            raise BackendUnavailable(f"cannot use {device}: OpenVINO computes on a CPU here")
        self._torch = TorchRuntime(device, "cpu", threads)
        self._threads, self._precision, self._or_torch = threads, precision, or_torch

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version's network, verifying every hash."""
        checkpoint = Checkpoint.load(directory)
        ways = ways_of(checkpoint.manifest, self._precision, or_torch=self._or_torch)
        ways = [way for way in ways if way == TORCH or has_precision(way)] or [FLOAT32]
        way = self._fastest(checkpoint, ways) if len(ways) > 1 else ways[0]
        if way == TORCH:  # as without OpenVINO: encoders are shared
            return self._torch.open(directory)
        return checkpoint, detector_of(checkpoint, self._engine(checkpoint, way))

    def _fastest(self, checkpoint: Checkpoint, ways: Sequence[str]) -> str:
        """Return the way to take by this checkpoint's speeds: worth it for one image and several.

        torch computes several images side by side, which OpenVINO does not.
        """
        versions = [version_of(package) for package in _PACKAGES]
        hashes = sorted(checkpoint.manifest.sha256.items())
        picks = []
        for count in (1, _SEVERAL):
            facts = (hashes, list(ways), processor(), self._threads, versions, count)
            file = file_in(cache_folder(), *facts)
            picks.append(chosen(measured(file, partial(self._built, checkpoint, ways, count))))
        return min(picks, key=ways.index)

    def _built(self, checkpoint: Checkpoint, ways: Sequence[str], count: int) -> Ways:
        images = np.zeros((count, 3, *checkpoint.config.image_size), np.uint8)
        engines = self._available(checkpoint, ways)
        return {name: partial(each.compare, images, _no_lap) for name, each in engines.items()}

    def _available(self, checkpoint: Checkpoint, ways: Sequence[str]) -> dict[str, Engine]:
        """Return the engines of the ways that this processor has, slower ones first."""
        engines: dict[str, Engine] = {}
        for way in ways:
            try:
                engines[way] = self._engine(checkpoint, way)
            except BackendUnavailable as error:
                logger.info("not used: %s", error)
        return engines

    def _engine(self, checkpoint: Checkpoint, way: str) -> Engine:
        parts = (checkpoint.network, checkpoint.preprocessing, checkpoint.scoring)
        if way != TORCH:
            return OpenvinoEngine(*parts, self._threads, way)
        engine = TorchEngine(*parts)
        for step in engine.preparation(_SEVERAL):
            step()
        return engine

    @property
    def encoders(self) -> tuple[int, int]:
        """The encoders of versions that torch computes; OpenVINO's graphs each contain theirs."""
        return self._torch.encoders

    @property
    def held_bytes(self) -> int:
        """No GPU memory."""
        return 0

    def release(self) -> None:
        """Do nothing: OpenVINO keeps its memory as long as a graph."""

    @property
    def renews_threads(self) -> bool:
        """Never: OpenVINO keeps the threads that it has started."""
        return False

    def renew_threads(self) -> None:
        """Renew torch's threads."""
        self._torch.renew_threads()


def ways_of(manifest: Manifest, precision: str, *, or_torch: bool) -> list[str]:
    """Return the ways to compute a version that its agreements allow, slower ones first."""
    allowed = [p for p in PRECISIONS if holds(manifest.agreements, p, manifest.categories)]
    if precision == BFLOAT16 and BFLOAT16 not in allowed:
        logger.warning(
            "%s/%s computes in float32: bfloat16 does not score alike, or was not measured; "
            "`mambaad calibrate` measures it", manifest.name, manifest.version,
        )  # fmt: skip
    if precision == BFLOAT16 and BFLOAT16 in allowed and not or_torch:
        return [BFLOAT16]
    if precision not in (AUTO, BFLOAT16):
        allowed = [p for p in allowed if p == FLOAT32]
    return list(dict.fromkeys([TORCH if or_torch else FLOAT32, *allowed]))


def in_precision(checkpoint: Checkpoint, precision: str, threads: int = 1) -> Detector:
    """Return a detector that computes with OpenVINO, whether or not its scores agree.

    Raises `BackendUnavailable` for a precision that this processor does not have.
    """
    parts = (checkpoint.network, checkpoint.preprocessing, checkpoint.scoring)
    return detector_of(checkpoint, OpenvinoEngine(*parts, threads, precision))


def _no_lap(stage: str) -> None:
    """Ignore the stages of a measured pass."""

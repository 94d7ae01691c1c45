"""Stored versions as torch computes them, those on the same encoder sharing it."""

from collections.abc import Mapping
from pathlib import Path

import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint
from model.checkpoints.shared_encoders import SharedEncoders
from model.checkpoints.store import StoredVersion
from model.engines.cuda.engine import CudaShare
from model.engines.torch.device import check_device, release_cached
from model.engines.torch.engine import TorchEngine
from model.images.areas import Area
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import Category
from model.network import MambaAD
from model.runtimes.runtime import detector_of
from model.scoring.baselines import AnyBaseline
from model.scoring.scores import Scoring


class TorchRuntime:
    """torch on one device, by so many threads; raises `BackendUnavailable` where it is not there.

    `backend` is the scan's, as `model.scan` knows them; `precision` and `graphs` are for CUDA, see
    `CudaShare`.
    """

    def __init__(
        self,
        device: str,
        backend: str,
        threads: int,
        precision: str = "auto",
        *,
        graphs: bool = True,
    ) -> None:
        check_device(device)
        torch.set_num_threads(threads)  # the scan's CPU backend goes by it, too
        self._device = device
        self._backend = backend
        self._encoders = SharedEncoders()
        on_cpu = torch.device(device).type == "cpu"
        self._cuda = None if on_cpu else CudaShare.on(device, precision, graphs=graphs)

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version's network, every hash verified."""
        checkpoint = Checkpoint.load(directory, self._encoders)
        detector = open_checkpoint(checkpoint, self._device, self._backend, self._cuda)
        return checkpoint, detector

    @property
    def encoders(self) -> tuple[int, int]:
        """How many encoders there are, and their bytes."""
        return len(self._encoders), self._encoders.nbytes

    @property
    def held_bytes(self) -> int:
        """What this process holds of a GPU's memory; nothing on a CPU."""
        return torch.cuda.memory_reserved(self._device) if self._device != "cpu" else 0

    def release(self) -> None:
        """Empty the caches of a GPU's memory."""
        release_cached(torch.device(self._device))


def open_checkpoint(
    checkpoint: Checkpoint,
    device: str = "cpu",
    backend: str = "auto",
    cuda: CudaShare | None = None,
) -> Detector:
    """Build the detector that a loaded checkpoint describes.

    With `cuda`, it computes there, and fast after its `preparation`; see `CudaEngine`.
    """
    parts = (checkpoint.network, checkpoint.preprocessing, checkpoint.scoring)
    if cuda is None:
        return detector_of(checkpoint, TorchEngine(*parts, device, backend))
    engine = cuda.engine(*parts, backend, checkpoint.golden, checkpoint.baselines)
    return detector_of(checkpoint, engine)


def torch_detector(
    network: MambaAD,
    preprocessing: Preprocessing,
    scoring: Scoring,
    calibrations: Mapping[Category, Calibration],
    device: str = "cpu",
    backend: str = "auto",
    baselines: Mapping[Category, AnyBaseline] | None = None,
    areas: Mapping[Category, Area] | None = None,
) -> Detector:
    """Compute with torch; the network is taken over, see `TorchEngine`."""
    engine = TorchEngine(network, preprocessing, scoring, device, backend)
    return Detector(engine, preprocessing, scoring, calibrations, baselines, areas)

"""Opens stored versions with torch; versions with the same encoder share it."""

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
from model.engines.torch.lanes import lane_threads
from model.images.areas import Area
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import Category
from model.network import MambaAD
from model.runtimes.runtime import detector_of
from model.scoring.baselines import AnyBaseline
from model.scoring.scores import Scoring


class TorchRuntime:
    """torch on one device, with `threads` threads.

    `backend` is one of `model.scan.BACKENDS` or "auto"; `precision` and `graphs` are for CUDA, see
    `CudaShare`. Raises `BackendUnavailable` if there is no such device.
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
        self._threads = threads
        torch.set_num_threads(threads)  # the scan's CPU backend follows it
        self._device = device
        self._backend = backend
        self._encoders = SharedEncoders()
        on_cpu = torch.device(device).type == "cpu"
        self._cuda = None if on_cpu else CudaShare.on(device, precision, graphs=graphs)

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version's network, verifying every hash."""
        checkpoint = Checkpoint.load(directory, self._encoders)
        detector = open_checkpoint(checkpoint, self._device, self._backend, self._cuda)
        return checkpoint, detector

    @property
    def encoders(self) -> tuple[int, int]:
        """The number of encoders, and their bytes."""
        return len(self._encoders), self._encoders.nbytes

    @property
    def held_bytes(self) -> int:
        """GPU memory that this process holds, in bytes; 0 on a CPU."""
        return torch.cuda.memory_reserved(self._device) if self._device != "cpu" else 0

    def release(self) -> None:
        """Empty torch's cache of GPU memory."""
        release_cached(torch.device(self._device))

    @property
    def renews_threads(self) -> bool:
        """Always: torch's own helpers belong to the thread that computes."""
        return True

    def renew_threads(self) -> None:
        """Give up the pools of threads, and use the set number of threads in the calling thread."""
        from model.scan.numba import threads as scan_threads  # noqa: PLC0415 - only on a CPU

        torch.set_num_threads(self._threads)
        lane_threads.cache_clear()
        scan_threads.end_threads()


def open_checkpoint(
    checkpoint: Checkpoint,
    device: str = "cpu",
    backend: str = "auto",
    cuda: CudaShare | None = None,
) -> Detector:
    """Build the detector of a loaded checkpoint.

    With `cuda`, it computes on that GPU, and is fast after its `preparation`; see `CudaEngine`.
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
    """Build a detector that computes with torch; takes over the network, see `TorchEngine`."""
    engine = TorchEngine(network, preprocessing, scoring, device, backend)
    return Detector(engine, preprocessing, scoring, calibrations, baselines, areas)

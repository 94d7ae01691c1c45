"""Stored versions as torch computes them, those on the same encoder sharing it."""

from pathlib import Path

import torch

from model.checkpoint import Checkpoint
from model.cuda.engine import CudaShare
from model.detector import Detector
from model.encoders import SharedEncoders
from model.store import StoredVersion
from model.torch_device import check_device, release_cached


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
        detector = Detector.from_checkpoint(checkpoint, self._device, self._backend, self._cuda)
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

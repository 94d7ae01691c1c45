"""A library that computes stored versions."""

from pathlib import Path
from typing import Protocol

from model.checkpoints.store import StoredVersion
from model.inference.detector import Detector
from model.inference.engine import Engine


class Runtime(Protocol):
    """A library on one device."""

    def open(self, directory: Path) -> tuple[StoredVersion, Detector]:
        """Load a version from its folder. Raises `CheckpointError` and `OutOfMemory`."""

    @property
    def encoders(self) -> tuple[int, int]:
        """The number of encoders that networks can share, and their bytes."""

    @property
    def held_bytes(self) -> int:
        """GPU memory that this library holds in this process, in bytes; 0 on a CPU."""

    def release(self) -> None:
        """Free memory that deleted networks left in caches."""

    @property
    def renews_threads(self) -> bool:
        """Whether `renew_threads` replaces every thread that computes."""

    def renew_threads(self) -> None:
        """Let the calling thread compute from now on, with new helpers of its own priority."""


def detector_of(version: StoredVersion, engine: Engine) -> Detector:
    """Build the detector of a stored version around its engine."""
    parts = (version.preprocessing, version.scoring, version.calibrations)
    return Detector(engine, *parts, version.baselines, version.manifest.areas)

"""A library that computes stored versions, and the detector that it makes of one."""

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
        """How many encoders several networks may share, and their bytes."""

    @property
    def held_bytes(self) -> int:
        """What this process holds of a GPU's memory through it; nothing on a CPU."""

    def release(self) -> None:
        """Give back memory that freed networks have left in caches."""


def detector_of(version: StoredVersion, engine: Engine) -> Detector:
    """Decide as a stored version does, by what an engine computes for it."""
    parts = (version.preprocessing, version.scoring, version.calibrations)
    return Detector(engine, *parts, version.baselines, version.manifest.areas)

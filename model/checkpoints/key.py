"""The name and version that identify a checkpoint."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class CheckpointKey:
    """A checkpoint's name and version in the store."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

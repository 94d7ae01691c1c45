"""Which checkpoint: its name and its version."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class CheckpointKey:
    """The name and version under which a checkpoint lies in the store."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

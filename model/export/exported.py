"""What can be exported, and what was: shared by every format."""

from dataclasses import dataclass
from pathlib import Path

from model.checkpoints.checkpoint import Checkpoint
from model.durable import write_durably
from model.errors import ExportError
from model.export.parity import Parity


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    nbytes: int
    parity: Parity


def check_exportable(checkpoint: Checkpoint) -> None:
    """Raise `ExportError` for a checkpoint whose decisions one file cannot take."""
    if not checkpoint.calibrations:
        raise ExportError(
            f"{checkpoint.name!r} has no thresholds, and an exported model decides: "
            f"run `mambaad calibrate {checkpoint.name}` first"
        )


def write(path: Path, data: bytes, parity: Parity) -> Exported:
    """Write a file, whole or not at all; raises `ExportError` where the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error}") from error
    return Exported(path, len(data), parity)

"""The check before an export and its result, shared by all formats."""

from dataclasses import dataclass
from pathlib import Path

from model.checkpoints.checkpoint import Checkpoint
from model.durable import write_durably
from model.errors import ExportError
from model.export.parity import Parity


@dataclass(frozen=True, slots=True)
class Exported:
    """A written file, and its agreement with PyTorch."""

    path: Path
    nbytes: int
    parity: Parity


def check_exportable(checkpoint: Checkpoint) -> None:
    """Raise `ExportError` for a checkpoint without thresholds."""
    if not checkpoint.calibrations:
        raise ExportError(
            f"{checkpoint.name!r} has no thresholds, which an exported model needs: "
            f"run `mambaad calibrate {checkpoint.name}` first"
        )


def write(path: Path, data: bytes, parity: Parity) -> Exported:
    """Write a file, complete or not at all. Raises `ExportError` if writing fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error}") from error
    return Exported(path, len(data), parity)

"""`export_onnx`: build, hold against PyTorch, write."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import Checkpoint
from model.errors import ExportError
from model.export.artefact import build
from model.export.parity import Parity, check
from model.weight_files import write_durably


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    nbytes: int
    parity: Parity


def export_onnx(
    checkpoint: Checkpoint,
    path: Path,
    image_type: str = "uint8",
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the ONNX file of a calibrated checkpoint, whole or not at all.

    Takes the checkpoint's network over. Raises `ExportError`, and `ParityError` for a file that
    would not score as the checkpoint does.
    """
    model = build(checkpoint, image_type, say)
    say("comparing with PyTorch")
    parity = check(model, checkpoint)
    data = model.SerializeToString()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error}") from error
    return Exported(path, len(data), parity)

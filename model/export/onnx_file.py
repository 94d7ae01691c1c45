"""`export_onnx`: builds an ONNX file, compares it with PyTorch, and writes it."""

from collections.abc import Callable
from pathlib import Path

from model.checkpoints.checkpoint import Checkpoint
from model.export.artefact import build
from model.export.exported import Exported, write
from model.export.parity import check
from model.export.precision import TOLERANCE, Precision, check_precision, compress
from model.export.session import Session


def export_onnx(
    checkpoint: Checkpoint,
    path: Path,
    image_type: str = "uint8",
    say: Callable[[str], None] = lambda _: None,
    precision: Precision = Precision.FP32,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write the ONNX file of a calibrated checkpoint, complete or not at all.

    Takes over the checkpoint's network. Below float32 `precision`, scores may differ by
    `tolerance`. Raises `ExportError`, and `ParityError` if the file's scores would differ from the
    checkpoint's.
    """
    model = build(checkpoint, image_type, say)
    say("comparing with PyTorch")
    parity = check(Session(model, checkpoint.manifest.categories), checkpoint)
    if precision is not Precision.FP32:
        say(f"storing weights as {precision.value} and comparing again")
        model = compress(model, precision)
        parity = check_precision(model, checkpoint, tolerance)
    return write(path, model.SerializeToString(), parity)

"""`mambaad export`."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import STORE, Name, Version, Weights
from model.errors import ExportError

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint

_NEEDED = ("onnx", "onnxruntime", "onnxscript")


class Format(StrEnum):
    """What can be written."""

    ONNX = "onnx"
    TORCH = "torch"


class Precision(StrEnum):
    """How weights are stored."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class ImageType(StrEnum):
    """What an exported model takes."""

    UINT8 = "uint8"
    FLOAT32 = "float32"


def export(
    name: Name,
    *,
    format_: Annotated[
        Format,
        typer.Option(
            "--format", help="onnx: for onnxruntime and others; torch: a torch.export program."
        ),
    ] = Format.ONNX,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Write it into the version's folder, where the service finds it."
        ),
    ] = False,
    image: Annotated[
        ImageType,
        typer.Option(help="Pixels 0 to 255 as uint8, or 0 to 1 as float32; RGB, channels first."),
    ] = ImageType.UINT8,
    precision: Annotated[
        Precision, typer.Option(help="How weights are stored; computing is in float32 always.")
    ] = Precision.FP32,
    tolerance: Annotated[
        float, typer.Option(help="How far a score, 0 to 1, may move where that is not fp32.")
    ] = 0.02,
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Write a checkpoint as one file that runs without this package.

    From image to map, score and decision, with the thresholds of this moment.
    Nothing is written that does not score the golden images as the checkpoint.

    For example:

      mambaad export bottle --output bottle.onnx

      mambaad export bottle --serve

      mambaad export bottle --output small.onnx --precision int8 --tolerance 0.01

      mambaad export bottle --format torch --output bottle.pt2
    """
    if (output is None) == (not serve):
        raise ExportError("give either --output FILE or --serve, and not both")
    if serve and image is not ImageType.UINT8:
        raise ExportError("the service computes with --image uint8 alone")
    plain = (image, precision, serve) == (ImageType.UINT8, Precision.FP32, False)
    if format_ is Format.TORCH and not plain:
        raise ExportError("--serve, --image and --precision go with --format onnx")
    if format_ is Format.ONNX:
        _check_installed()
    from model.checkpoints.checkpoint import CheckpointStore
    from model.checkpoints.manifest import ONNX_FILE
    from model.checkpoints.store import attach_onnx

    store = CheckpointStore(weights)
    directory = store.find(name, version)
    checkpoint = store.load(name, directory.name)
    if not serve:
        _check_frame(checkpoint)
    path = output or directory / ONNX_FILE
    if format_ is Format.ONNX:
        from model.export import precision as precision_module
        from model.export.onnx_file import export_onnx

        stored = precision_module.Precision(precision.value)
        written = export_onnx(checkpoint, path, image.value, _say, stored, tolerance)
    else:
        from model.export.program import export_program

        written = export_program(checkpoint, path, _say)
    if serve:
        attach_onnx(directory, path.read_bytes())
    print(f"wrote {written.path}, {written.nbytes / 1e6:.1f} MB; {written.parity}")


def _check_frame(checkpoint: "Checkpoint") -> None:
    """Refuse a file that would decide on its own, and otherwise than the checkpoint does."""
    if checkpoint.preprocessing.resize != "stretch" or checkpoint.manifest.areas:
        raise ExportError(
            f"{checkpoint.name!r} letterboxes or tiles its images, or counts an area of them, and "
            "a file knows inputs alone: its scores and decisions would be others; --serve writes "
            "it for the service, which does the rest"
        )


def _say(text: str) -> None:
    print(f"{text} ...", flush=True)


def _check_installed() -> None:
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"exporting to ONNX needs {', '.join(missing)}: pip install 'mambaad-service[export]'"
        )

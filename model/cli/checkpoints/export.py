"""`mambaad export`."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.early import find_version, writable_file
from model.cli.options import STORE, Name, Version, Weights
from model.errors import ExportError

if TYPE_CHECKING:
    from model.checkpoints.checkpoint import Checkpoint

_NEEDED = ("onnx", "onnxruntime", "onnxscript")


class Format(StrEnum):
    """Export formats."""

    ONNX = "onnx"
    TORCH = "torch"


class Precision(StrEnum):
    """Storage format of weights."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class ImageType(StrEnum):
    """Pixel type of an exported model's input."""

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
        typer.Option(help="Input pixels: uint8 from 0 to 255, or float32 from 0 to 1; RGB, CHW."),
    ] = ImageType.UINT8,
    precision: Annotated[
        Precision, typer.Option(help="How weights are stored; computation is always float32.")
    ] = Precision.FP32,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Largest change of a score (0 to 1) with fp16 or int8 weights."
        ),
    ] = 0.02,
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Write a checkpoint as one file that runs without this package.

    The file computes map, score and decision, with the current thresholds. It is
    written only if it scores the golden images like the checkpoint.

    For example:

      mambaad export bottle --output bottle.onnx

      mambaad export bottle --serve

      mambaad export bottle --output small.onnx --precision int8 --tolerance 0.01

      mambaad export bottle --format torch --output bottle.pt2
    """
    if (output is None) == (not serve):
        raise ExportError("give either --output FILE or --serve, not both")
    if serve and image is not ImageType.UINT8:
        raise ExportError("--serve needs --image uint8, got float32")
    plain = (image, precision, serve) == (ImageType.UINT8, Precision.FP32, False)
    if format_ is Format.TORCH and not plain:
        raise ExportError("--serve, --image and --precision need --format onnx, got torch")
    if format_ is Format.ONNX:
        _check_installed()
    writable_file(output, "--output")
    find_version(weights, name, version)
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
    """Refuse a standalone file whose decisions would differ from the checkpoint's."""
    if checkpoint.preprocessing.resize != "stretch" or checkpoint.manifest.areas:
        raise ExportError(
            f"{checkpoint.name!r} letterboxes or tiles its images, or inspects an area of them. "
            "An exported file cannot do this, so its scores and decisions would differ: use "
            "--serve, which writes the file for the service"
        )


def _say(text: str) -> None:
    print(f"{text} ...", flush=True)


def _check_installed() -> None:
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"exporting to ONNX needs {', '.join(missing)}: pip install 'mambaad-service[export]'"
        )

"""`mambaad export`."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import STORE, Name, Version, Weights
from model.errors import ExportError

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint

_NEEDED = ("onnx", "onnxruntime", "onnxscript")


class Format(StrEnum):
    """What can be written."""

    ONNX = "onnx"


class ImageType(StrEnum):
    """What an exported model takes."""

    UINT8 = "uint8"
    FLOAT32 = "float32"


def export(
    name: Name,
    *,
    format_: Annotated[
        Format, typer.Option("--format", help="onnx: one file for onnxruntime and others.")
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
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Write a checkpoint as one file that runs without this package.

    From image to map, score and decision, with the thresholds of this moment.
    Nothing is written that does not score the golden images as the checkpoint.

    For example:

      mambaad export bottle --output bottle.onnx

      mambaad export bottle --serve
    """
    _check_installed()
    if (output is None) == (not serve):
        raise ExportError("give either --output FILE or --serve, and not both")
    if serve and image is not ImageType.UINT8:
        raise ExportError("the service computes with --image uint8 alone")
    from model.checkpoint import CheckpointStore
    from model.export.onnx_file import export_onnx
    from model.manifest import ONNX_FILE
    from model.store import attach_onnx

    store = CheckpointStore(weights)
    directory = store.find(name, version)
    checkpoint = store.load(name, directory.name)
    if not serve:
        _check_frame(checkpoint)
    written = export_onnx(
        checkpoint,
        output or directory / ONNX_FILE,
        image.value,
        lambda text: print(f"{text} ..."),
    )
    if serve:
        attach_onnx(directory, written.path.read_bytes())
    print(f"wrote {written.path}, {written.nbytes / 1e6:.1f} MB; {written.parity}")


def _check_frame(checkpoint: "Checkpoint") -> None:
    """Refuse a file that would decide on its own, and otherwise than the checkpoint does."""
    if checkpoint.preprocessing.resize != "stretch" or checkpoint.manifest.areas:
        raise ExportError(
            f"{checkpoint.name!r} letterboxes or tiles its images, or counts an area of them, and "
            "a file knows inputs alone: its scores and decisions would be others; --serve writes "
            "it for the service, which does the rest"
        )


def _check_installed() -> None:
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"exporting to ONNX needs {', '.join(missing)}: pip install 'mambaad-service[export]'"
        )

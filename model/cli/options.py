"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from model.cli.early import known_device, known_engine, known_precision


def safe_names_of(names: list[str] | None) -> list[str] | None:
    """Return category names as checkpoints store them: "Zelle grün" becomes Zelle-gruen."""
    from model.names import safe_name

    return names and [safe_name(name) for name in names]


Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The checkpoint's name.")]
Data: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="A data set in a layout of docs/quality.md, or a list."),
]
Layout: TypeAlias = Annotated[
    str | None,
    typer.Option("--layout", help="Read DATA in this layout instead of detecting it."),
]
LocalRoot: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--local-root", metavar="DIR", help="Folder of the files that DATA lists (also s3:// ones)."
    ),
]
Weights: TypeAlias = Annotated[
    Path, typer.Option("--weights", metavar="DIR", help="The checkpoint store.")
]
Version: TypeAlias = Annotated[
    str | None,
    typer.Option("--version", help="The checkpoint's version; by default the newest finished one."),
]
Categories: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        metavar="NAME",
        callback=safe_names_of,
        help="Only this category: the name of any folder in DATA; repeatable.",
    ),
]
Good: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--good",
        metavar="NAME",
        help="Folders (or labels) with this name are good parts; '.' is DATA itself; repeatable.",
    ),
]
Defective: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--defective",
        metavar="NAME",
        help="Folders (or labels) with this name are defective parts; repeatable.",
    ),
]
Device: TypeAlias = Annotated[
    str, typer.Option("--device", callback=known_device, help="cpu, cuda or cuda:N.")
]
Engine: TypeAlias = Annotated[
    str,
    typer.Option(
        "--engine",
        callback=known_engine,
        help="The library that computes: torch, onnxruntime or openvino.",
    ),
]
Precision: TypeAlias = Annotated[
    str,
    typer.Option(
        "--precision",
        callback=known_precision,
        help="float32; or bfloat16, with openvino and a checkpoint whose scores agree in it.",
    ),
]
BatchSize: TypeAlias = Annotated[int, typer.Option("--batch-size", min=1, help="Images per batch.")]
Preset: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="PRESET",
        help="The scan's size, instead of the recipe's: paper, 16 states in 8 directions; or fast, "
        "1 state in 2 directions (accuracy: benchmarks/results/README.md).",
    ),
]


def _allow_pixels(count: int | None) -> int | None:
    if count is not None:
        from model.images.decoding import allow_pixels

        allow_pixels(count)
    return count


MaxPixels: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        callback=_allow_pixels,
        help="Refuse images with more pixels; by default 1000000000.",
    ),
]

STORE = Path("weights")
CALIBRATION = "Calibration"
"""Help panel of the options for thresholds."""

"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer


def safe_names_of(names: list[str] | None) -> list[str] | None:
    """Return categories' names as checkpoints have them: "Zelle grün" is Zelle-gruen."""
    from model.names import safe_name

    return names and [safe_name(name) for name in names]


Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The checkpoint's name.")]
Data: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="A data set in any layout of docs/quality.md, or a list."),
]
Layout: TypeAlias = Annotated[
    str | None,
    typer.Option("--layout", help="Read DATA as this layout, instead of the one recognised."),
]
LocalRoot: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--local-root", metavar="DIR", help="Where the files lie that DATA lists (s3://, or not)."
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
        help="Only this category, a folder's name in DATA whatever it means; repeatable.",
    ),
]
Good: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--good",
        metavar="NAME",
        help="Folders (or labels) of this name are good parts; '.' is DATA itself; repeatable.",
    ),
]
Defective: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--defective",
        metavar="NAME",
        help="Folders (or labels) of this name are defective parts; repeatable.",
    ),
]
Device: TypeAlias = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
BatchSize: TypeAlias = Annotated[int, typer.Option("--batch-size", min=1, help="Images a batch.")]
Preset: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="PRESET",
        help="The scan's size, whatever the recipe: paper, 16 states in 8 directions; or fast, "
        "1 state in 2 directions (benchmarks/results/README.md says what that costs).",
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
        help="Refuse images of more pixels; by default 1000000000.",
    ),
]

STORE = Path("weights")
CALIBRATION = "Calibration"
"""The panel of the options that thresholds come from."""

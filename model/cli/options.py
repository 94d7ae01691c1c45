"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The checkpoint's name.")]
Data: TypeAlias = Annotated[
    Path, typer.Argument(metavar="DATA", help="A folder in MVTec layout: <category>/train/good.")
]
Weights: TypeAlias = Annotated[
    Path, typer.Option("--weights", metavar="DIR", help="The checkpoint store.")
]
Version: TypeAlias = Annotated[
    str | None, typer.Option("--version", help="The checkpoint's version; by default the newest.")
]
Categories: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--category", metavar="CATEGORY", help="Only this one; may be repeated."),
]
Device: TypeAlias = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
BatchSize: TypeAlias = Annotated[int, typer.Option("--batch-size", min=1, help="Images a batch.")]

STORE = Path("weights")

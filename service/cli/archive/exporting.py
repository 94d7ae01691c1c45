"""`mambaad archive export`: rows as CSV or JSON Lines, images as a folder for training."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from model.option_groups import grouped
from service.cli.archive.options import FilterOptions, SourceOptions
from service.cli.archive.progress import counted
from service.cli.archive.refusing import refuse, refusing

if TYPE_CHECKING:
    from service.api.inspections.schemas import InspectionRow
    from service.cli.archive.training_folder import Exported


@grouped
def export(
    wanted: FilterOptions,
    source: SourceOptions,
    row_format: Annotated[
        str | None,
        typer.Option("--format", help="csv or jsonl; by default the suffix of --output, or csv."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="New file for the rows, instead of stdout.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="New folder for the images, in MVTec layout."),
    ] = None,
    assume: Annotated[
        str | None,
        typer.Option(
            metavar="told",
            help="Where nobody gave a verdict, take what the line was told: OK is good, NG "
            "defective.",
        ),
    ] = None,
    test_share: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of the good parts in the test split.")
    ] = 0.2,
) -> None:
    """Export inspections, newest first, or their images for training. Overwrites nothing.

    In a CSV, a text that a spreadsheet would take for a formula begins with '. With --images, the
    newest verdict says where an image goes: <category>/train/good, test/good or
    test/<defect class>; without --output, no rows are printed then. For example:

      mambaad archive export --state state --told NG --since 2026-11-01 --output rejects.csv

      mambaad archive export --state state --category bolt --images bolts --assume told
    """
    from service.cli.archive.sources import open_source  # noqa: PLC0415 - keeps --help fast
    from service.cli.archive.training_folder import TrainingFolder  # noqa: PLC0415

    if assume not in (None, "told"):
        refuse(f"--assume: expected told, got {assume!r}")
    query = wanted.query()
    with refusing(), open_source(source) as opened:
        if images is not None:
            folder = TrainingFolder(images, assume_told=bool(assume), test_share=test_share)
            rows = counted(chain.from_iterable(opened.pages(query)), "inspections")
            _report(folder.write(rows, opened), images)
            typer.echo(f"{folder.manifest} lists them.", err=True)
        if output is not None or images is None:
            _export_rows(chain.from_iterable(opened.pages(query)), output, row_format)


def _export_rows(
    rows: "Iterable[InspectionRow]", output: Path | None, row_format: str | None
) -> None:
    from service.cli.archive.rows import RowFormat, write_rows  # noqa: PLC0415

    name = row_format or (output.suffix.removeprefix(".") if output else "") or RowFormat.CSV
    if name not in tuple(RowFormat):
        refuse(f"--format: expected {' or '.join(RowFormat)}, got {name!r}")
    with _opened(output) as file:
        number = write_rows(
            counted(rows, "inspections", shown=output is not None), file, RowFormat(name)
        )
    typer.echo(f"{number} inspections exported.", err=True)


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Open a new file that appears when it is complete; or stdout."""
    if output is None:
        sys.stdout.reconfigure(newline="", encoding="utf-8")  # type: ignore[union-attr]
        yield sys.stdout
        return
    try:
        file = output.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        refuse(f"{output} exists: give the name of a new file")
    try:
        with file:
            yield file
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def _report(exported: "Exported", images: Path) -> None:
    typer.echo(f"{exported.written.total()} images in {images}:", err=True)
    for place, number in sorted(exported.written.items()):
        typer.echo(f"{number:8}  {place}", err=True)
    for reason, number in sorted(exported.left_out.items()):
        typer.echo(f"{number:8}  left out: {reason}", err=True)

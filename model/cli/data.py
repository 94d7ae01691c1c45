"""`mambaad data`."""

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import Categories, Data, Layout, LocalRoot, MaxPixels
from model.errors import DatasetError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from model.dataset.survey import Survey

SPOILED = 1
"""Exit code for data on which results would mean nothing."""

_FILES_SHOWN = 5

data = typer.Typer(help="Look at data sets.", no_args_is_help=True, rich_markup_mode="rich")


@data.callback()
def about() -> None:
    """Look at data sets."""


@data.command()
def check(
    data: Data,
    *,
    category: Categories = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    max_pixels: MaxPixels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Say what DATA holds and what is wrong with it, before training on it.

    Counts by category and split, sizes and modes; unreadable files; images that
    are trained on and tested with, or nearly so; masks that do not match. Exits
    with 1 where something would spoil results.

    For example:

      mambaad data check data/mvtec

      mambaad data check line.csv --json
    """
    from rich.console import Console

    if find_spec("imagehash") is None:
        raise DatasetError("checking data needs imagehash: pip install 'mambaad-service[train]'")
    from model.cli.watching import counting
    from model.dataset import missing_files, read_dataset, recognised
    from model.dataset.survey import survey

    dataset = read_dataset(data, category, layout, local_root, check_files=False)
    console = Console()
    if not as_json:
        others = [name for name in recognised(data) if name != dataset.layout]
        also = f" (it could be {', '.join(others)} too: --layout)" if others else ""
        missing = len(missing_files(dataset))
        lacks = f"; {missing} of the files that it lists are not there" if missing else ""
        console.print(f"{data} is read as {dataset.layout}{also}{lacks}", highlight=False)
    with counting(len(dataset.samples), "looking at images") as advance:
        found = survey(dataset, data, advance)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        console.print(table_of(found))
        tell(console, found)
    if found.spoiled:
        raise typer.Exit(SPOILED)


def table_of(found: "Survey") -> "Table":
    """Return a row per category, and their sum."""
    from rich.table import Table

    table = Table()
    table.add_column("\nCategory", no_wrap=True)
    for heading in ("Good\ntrain", "\nheld out", "\ntest", "Defective\ntest", "\nmasks", "\nkinds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Width x height,\nmode")
    total = [0] * 5
    for name, own in found.categories.items():
        counts = [own.train, own.held_out, own.test_good, sum(own.defects.values()), own.masks]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        shape = f"{_few(own.sizes)}, {_few(own.modes)}"
        table.add_row(name, *map(str, [*counts, len(own.defects)]), shape)
    if len(found.categories) > 1:
        table.add_section()
        table.add_row("all", *map(str, total), style="bold")
    return table


def tell(console: "Console", found: "Survey") -> None:
    """Print the problems, each with its first few files."""
    for problem in found.problems:
        style, word = ("bold red", "spoils") if problem.spoils else ("yellow", "note")
        console.print(f"{word}: {problem.text}", style=style, markup=False, highlight=False)
        for file in problem.files[:_FILES_SHOWN]:
            console.print(f"    {file}", markup=False, highlight=False)
        if len(problem.files) > _FILES_SHOWN:
            console.print(f"    ... and {len(problem.files) - _FILES_SHOWN} more (--json)")
    if not found.problems:
        console.print("nothing is wrong with it")


def _few(counts: dict[str, int], limit: int = 3) -> str:
    more = f", ... ({len(counts)} in all)" if len(counts) > limit else ""
    return ", ".join(list(counts)[:limit]) + more

"""`mambaad data`."""

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import (
    Categories,
    Data,
    Defective,
    Good,
    Layout,
    LocalRoot,
    MaxPixels,
)
from model.errors import DatasetError

if TYPE_CHECKING:
    from rich.console import Console, Group

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
    good: Good = None,
    defective: Defective = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    max_pixels: MaxPixels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Say what DATA holds and what is wrong with it, before training on it.

    Counts by category and split, sizes and modes; unreadable files; images that
    are trained on and tested with, or nearly so; masks that do not match; what
    is passed over, and why. Exits with 1 where something would spoil results.

    Folders are told by their names (good, OK, normal, NG, defect, test, ...; the
    table is in docs/quality.md); --good, --defective and --category name others.

    For example:

      mambaad data check data/mvtec

      mambaad data check line-3 --good frei --defective kratzer

      mambaad data check line.csv --json
    """
    from rich.console import Console

    if find_spec("imagehash") is None:
        raise DatasetError("checking data needs imagehash: pip install 'mambaad-service[train]'")
    from model.cli.watching import counting
    from model.dataset import Words, missing_files, read_dataset, recognised
    from model.dataset.survey import survey

    words = Words.given(good, defective, category)
    dataset = read_dataset(data, category, layout, local_root, words=words, check_files=False)
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


def table_of(found: "Survey") -> "Group":
    """Return a row per category, and their sum; below it, the sizes and modes of each."""
    from rich.console import Group
    from rich.text import Text

    from model.tables import NamedRows

    headings = ["Good\ntrain", "\nheld out", "\ntest", "Defective\ntest", "\nmasks", "\nkinds"]
    table = NamedRows("", "\nCategory", headings)
    total = [0] * 5
    for name, own in found.categories.items():
        counts = [own.train, own.held_out, own.test_good, sum(own.defects.values()), own.masks]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        table.add(name, [*map(str, counts), str(len(own.defects))])
    if len(found.categories) > 1:
        table.add("all", [*map(str, total), ""], "bold", section=True)
    shapes = [
        Text(f"{name}: {_few(own.sizes)}, {_few(own.modes)}", overflow="fold")
        for name, own in found.categories.items()
    ]
    return Group(table, Text("Width x height, mode", "bold"), *shapes)


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
    for category, name in found.names.items():
        text = f"the category {name!r} is called {category}"
        console.print(text, markup=False, highlight=False)
    told = {problem.text.partition(": ")[2] for problem in found.problems}
    for reason, files in found.passed_over.items():
        if reason not in told:
            shown = f"{', '.join(files[:_FILES_SHOWN])}{', ...' if files[_FILES_SHOWN:] else ''}"
            text = f"passed over: {len(files)} {reason} ({shown})"
            console.print(text, markup=False, highlight=False)


def _few(counts: dict[str, int], limit: int = 3) -> str:
    more = f", ... ({len(counts)} in all)" if len(counts) > limit else ""
    return ", ".join(list(counts)[:limit]) + more

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
"""Exit code for data on which results would be meaningless."""

_FILES_SHOWN = 5

data = typer.Typer(help="Check data sets.", no_args_is_help=True, rich_markup_mode="rich")


@data.callback()
def about() -> None:
    """Check data sets."""


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
    """List the contents and problems of DATA, before training on it.

    Shows counts by category and split, sizes and modes; unreadable files; test
    images that are copies or near copies of training images; masks that do not
    match; skipped files and the reason. Exits with 1 if a problem would make
    results meaningless.

    Folders are recognised by name (good, OK, normal, NG, defect, test, ...; the
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

    words = Words.given(good, defective, category)
    dataset = read_dataset(data, category, layout, local_root, words=words, check_files=False)
    from model.dataset.survey import survey

    console = Console()
    if not as_json:
        others = [name for name in recognised(data) if name != dataset.layout]
        also = f" (--layout can also be {', '.join(others)})" if others else ""
        missing = len(missing_files(dataset))
        lacks = f"; {missing} of the listed files are missing" if missing else ""
        console.print(f"{data} is read as {dataset.layout}{also}{lacks}", highlight=False)
    with counting(len(dataset.samples), "looking at images") as advance:
        result = survey(dataset, data, advance)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        console.print(table_of(result))
        tell(console, result)
    if result.spoiled:
        raise typer.Exit(SPOILED)


def table_of(result: "Survey") -> "Group":
    """Return a table with one row per category and the total, then each one's sizes and modes."""
    from rich.console import Group
    from rich.text import Text

    from model.tables import NamedRows

    headings = ["Good\ntrain", "\nheld out", "\ntest", "Defective\ntest", "\nmasks", "\nkinds"]
    table = NamedRows("", "\nCategory", headings)
    total = [0] * 5
    for name, counted in result.categories.items():
        counts = [
            counted.train,
            counted.held_out,
            counted.test_good,
            sum(counted.defects.values()),
            counted.masks,
        ]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        table.add(name, [*map(str, counts), str(len(counted.defects))])
    if len(result.categories) > 1:
        table.add("all", [*map(str, total), ""], "bold", section=True)
    shapes = [
        Text(f"{name}: {_few(counted.sizes)}, {_few(counted.modes)}", overflow="fold")
        for name, counted in result.categories.items()
    ]
    return Group(table, Text("Width x height, mode", "bold"), *shapes)


def tell(console: "Console", result: "Survey") -> None:
    """Print each problem with its first few files."""
    for problem in result.problems:
        style, word = ("bold red", "spoils") if problem.spoils else ("yellow", "note")
        console.print(f"{word}: {problem.text}", style=style, markup=False, highlight=False)
        for file in problem.files[:_FILES_SHOWN]:
            console.print(f"    {file}", markup=False, highlight=False)
        if len(problem.files) > _FILES_SHOWN:
            console.print(f"    ... and {len(problem.files) - _FILES_SHOWN} more (--json)")
    if not result.problems:
        console.print("no problems")
    for category, name in result.names.items():
        text = f"category {name!r} is renamed to {category}"
        console.print(text, markup=False, highlight=False)
    reported = {problem.text.partition(": ")[2] for problem in result.problems}
    for reason, files in result.passed_over.items():
        if reason not in reported:
            shown = f"{', '.join(files[:_FILES_SHOWN])}{', ...' if files[_FILES_SHOWN:] else ''}"
            text = f"skipped: {len(files)} {reason} ({shown})"
            console.print(text, markup=False, highlight=False)


def _few(counts: dict[str, int], limit: int = 3) -> str:
    more = f", ... ({len(counts)} in all)" if len(counts) > limit else ""
    return ", ".join(list(counts)[:limit]) + more

"""Measures whether the network finds defects as well as PaDiM and PatchCore do.

    python -m benchmarks.quality run --subset quick --json quality-quick.json
    python -m benchmarks.quality run --subset all --seeds 3 --json quality.json
    python -m benchmarks.quality sheet defects.png

Results are kept in the folder `--folder`, one file for each set, seed and method: the same command
goes on where it was stopped. `quick` took 20 minutes on two cores beside other work; `all` is meant
for a night and was not measured.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.quality.differences import METRICS, Standing, average
from benchmarks.quality.measuring import ALPHA, AUTO
from benchmarks.quality.running import run, standings
from benchmarks.quality.sets import SETS, Role, Subset
from benchmarks.quality.sheet import draw_sheet
from benchmarks.quality.table import markdown, terminal
from model.benchmark import device_name, versions
from model.synthetic import Size

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None
)
_QUICK_SEEDS, _SEEDS = 1, 3


class SizeName(StrEnum):
    """The size of drawn defects."""

    ORDINARY = "ordinary"
    SMALL = "small"


@app.command("run")
def measure(
    subset: Annotated[Subset, typer.Option(help="The sets to measure.")] = Subset.QUICK,
    sets: Annotated[
        list[str] | None, typer.Option("--sets", help="Names of sets instead of a subset.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="By default 1 for quick, else 3.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A recipe's name or file; auto chooses.")] = AUTO,
    folder: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("runs/quality"),
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown")] = None,
) -> None:
    """Measure the sets that have no result yet, and print all of them as a table."""
    unknown = sorted(set(sets or ()) - set(SETS))
    if unknown:
        raise typer.BadParameter(f"no set {', '.join(unknown)}; have: {', '.join(SETS)}")
    chosen = [SETS[name] for name in sets] if sets else subset.sets()
    count = seeds or (_QUICK_SEEDS if subset is Subset.QUICK and not sets else _SEEDS)
    numbers = range(1, count + 1)
    failures = run(chosen, numbers, recipe, folder, Console(stderr=True))
    stood = standings(chosen, numbers, recipe, folder)
    Console().print(terminal(stood))
    if markdown_file is not None:
        markdown_file.write_text(markdown(stood))
    if json_file is not None:
        json_file.write_text(json.dumps(report(stood, recipe, failures), indent=2) + "\n")
    if failures:
        raise typer.Exit(1)


@app.command("sets")
def list_sets() -> None:
    """List the sets."""
    for a_set in SETS.values():
        print(f"{a_set.name:24} {a_set.role:12} {a_set.source:8} {a_set.good:4} good images")


@app.command("sheet")
def sheet(
    path: Path,
    size: Annotated[SizeName, typer.Option(help="The defects' size.")] = SizeName.ORDINARY,
    seed: int = 1,
) -> None:
    """Write a picture of each kind and strength of drawn defect to PATH."""
    draw_sheet(path, Size[size.name], seed)


def report(stood: list[Standing], recipe: str, failures: list[str]) -> dict[str, object]:
    """Return all figures as JSON values."""
    means = {
        role.value: {
            metric: mean.to_dict()
            for metric in METRICS
            if (mean := average([s for s in stood if s.role == role], metric)) is not None
        }
        for role in Role
    }
    return {
        "device": "cpu",
        "device_name": device_name("cpu"),
        "versions": versions(),
        "recipe": recipe,
        "alpha": ALPHA,
        "sets": [standing.to_dict() for standing in stood],
        "means": means,
        "failures": failures,
    }


if __name__ == "__main__":
    app()

"""Repeats the demonstration on other splits: random ones, and ones that keep modules together.

    python -m demo.splits data/solar-splits --json benchmarks/results/solar-splits.json

In a random split, test cells can come from the same module as training cells. `grouped` keeps runs
of 40 consecutive files together, a stand-in for modules, which the dataset does not name; defective
test cells are those of test runs outside development. Each trial trains the shipped recipe and
compares PaDiM and PatchCore on the same features; it takes about 10 minutes on two cores, and
finished ones are reused.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer

from demo.solar import (
    HELD_OUT,
    TEST_SHARE,
    Cell,
    data_folder,
    draw_split,
    prepare,
    read_labels,
    write_split,
)
from demo.trial import RECIPE, run_trial
from model.benchmark import versions

RUN_LENGTH = 40
"""Number of consecutive files that stay together."""


class Kind(StrEnum):
    """How cells are assigned to train, held out and test."""

    RANDOM = "random"
    GROUPED = "grouped"


def draw_grouped(cells: Iterable[Cell], seed: int) -> list[Cell]:
    """Assign complete runs of files to a split, with about as many good cells as `draw_split`.

    Runs with more certainly defective cells than good ones go to test, since training gains little
    from them. Others go where their more common category still needs good cells. Cells that
    `draw_split` assigns to development stay there.
    """
    cells = sorted(draw_split(cells), key=lambda cell: cell.file)
    runs = [cells[start : start + RUN_LENGTH] for start in range(0, len(cells), RUN_LENGTH)]
    random.Random(f"{seed}/runs").shuffle(runs)
    runs.sort(key=_is_broken, reverse=True)
    good = Counter(cell.category for cell in cells if cell.is_good)
    counts: Counter[tuple[str, str]] = Counter()
    assigned = []
    for run in runs:
        category = Counter(cell.category for cell in run).most_common(1)[0][0]
        if _is_broken(run) or counts[category, "test"] < TEST_SHARE * good[category]:
            side = "test"
        elif counts[category, "held_out"] < HELD_OUT:
            side = "held_out"
        else:
            side = "train"
        counts.update((cell.category, side) for cell in run if cell.is_good)
        assigned += [_assign(cell, side) for cell in run]
    return sorted(assigned, key=lambda cell: cell.file)


def _is_broken(run: Sequence[Cell]) -> bool:
    """Return whether more of the run's cells are certainly defective than good."""
    return sum(float(cell.probability) == 1 for cell in run) > sum(cell.is_good for cell in run)


def _assign(cell: Cell, side: str) -> Cell:
    if cell.is_good:
        return replace(cell, split=side)
    tested = cell.split == "test" and side == "test"
    return replace(cell, split="test" if tested else "development")


DRAW: Mapping[Kind, Callable[[Iterable[Cell], int], list[Cell]]] = {
    Kind.RANDOM: draw_split,
    Kind.GROUPED: draw_grouped,
}


def image_aurocs(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return each method's image AUROC by category: of the calibrated score, or a rival's best."""
    by_method: dict[str, dict[str, float]] = {}
    for category, standings in result["baselines"]["categories"].items():
        for standing in standings:
            method, auroc = standing["method"], standing["image_auroc"]
            calibrated = standing["score"] == "calibrated"
            if not calibrated and method == standings[0]["method"]:
                continue
            best = by_method.setdefault(method, {})
            best[category] = max(auroc, best.get(category, 0.0))
    return by_method


def run_one(kind: Kind, seed: int, root: Path) -> dict[str, Any]:
    """Return one split's result; `root` holds its images, store and result file."""
    folder = root / f"{kind}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    cells = DRAW[kind](read_labels(data_folder()), seed)
    write_split(cells, folder / "split.csv")
    prepare(folder / "data", split_file=folder / "split.csv")
    result = run_trial(folder / "data", folder, ["--seed", str(seed)], baselines=True)
    tested = Counter(cell.category for cell in cells if cell.split == "test" and not cell.is_good)
    return {
        "split": kind.value,
        "seed": seed,
        "defective_tested": dict(sorted(tested.items())),
        "image_auroc": image_aurocs(result),
        "false_reject_rate": {
            c: figures["false_reject_rate"] for c, figures in result["categories"].items()
        },
    }


def means(trials: Iterable[Mapping[str, Any]], kind: Kind) -> dict[str, dict[str, float]]:
    """Return each method's mean image AUROC over the splits of a kind, by category."""
    aurocs = [trial["image_auroc"] for trial in trials if trial["split"] == kind]
    return {
        method: {c: mean(auroc[method][c] for auroc in aurocs) for c in by_category}
        for method, by_category in aurocs[0].items()
    }


def main(
    root: Annotated[Path, typer.Argument(help="The folder for images, networks and results.")],
    kinds: Annotated[list[Kind] | None, typer.Option("--kind", help="By default both.")] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Seeds of splits and networks; by default 1, 2 and 3."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Train and evaluate on several splits, and print the mean image AUROC of each method.

    A rival's figure is the best of four image scores (highest pixel or mean of the highest 1 %,
    with or without the border), chosen on the test images, which flatters it.
    """
    kinds = kinds or list(Kind)
    trials = []
    for seed in seeds or [1, 2, 3]:
        for kind in kinds:
            print(f"{kind} split, seed {seed}", flush=True)
            trials.append(run_one(kind, seed, root))
            print(json.dumps(trials[-1]["image_auroc"]), flush=True)
    mean_aurocs = {kind.value: means(trials, kind) for kind in kinds}
    print(json.dumps(mean_aurocs, indent=2))
    if json_file is not None:
        record = {"recipe": RECIPE, "versions": versions(), "mean": mean_aurocs, "trials": trials}
        json_file.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)

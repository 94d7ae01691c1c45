"""The demonstration on other splits: how much one flatters, and what whole modules apart cost.

    python -m demo.splits data/solar-splits --json benchmarks/results/solar-splits.json

Cells of a random split lie beside cells of their own module in the training images. `grouped` keeps
runs of 40 consecutive files on one side, a stand-in for modules, which the dataset does not name:
the defective cells tested are then those of the runs that are tested, and not of development.
Each trial trains the shipped recipe, and sets PaDiM and PatchCore beside it on the same features.
Trials that are done are not done again. Each takes about 10 minutes on two cores.
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
"""Consecutive files that are kept together."""


class Kind(StrEnum):
    """How cells are dealt to train, held out and test."""

    RANDOM = "random"
    GROUPED = "grouped"


def draw_grouped(cells: Iterable[Cell], seed: int) -> list[Cell]:
    """Assign whole runs of files to a split, about as many good cells as `draw_split` does.

    Runs with more certainly defective cells than good ones are tested: training would gain little
    of them. Any other goes where its more common category still needs good cells. Cells that
    `draw_split` keeps for development are left in it.
    """
    cells = sorted(draw_split(cells), key=lambda cell: cell.file)
    runs = [cells[start : start + RUN_LENGTH] for start in range(0, len(cells), RUN_LENGTH)]
    random.Random(f"{seed}/runs").shuffle(runs)
    runs.sort(key=_is_broken, reverse=True)
    good = Counter(cell.category for cell in cells if cell.is_good)
    dealt: Counter[tuple[str, str]] = Counter()
    assigned = []
    for run in runs:
        category = Counter(cell.category for cell in run).most_common(1)[0][0]
        if _is_broken(run) or dealt[category, "test"] < TEST_SHARE * good[category]:
            side = "test"
        elif dealt[category, "held_out"] < HELD_OUT:
            side = "held_out"
        else:
            side = "train"
        dealt.update((cell.category, side) for cell in run if cell.is_good)
        assigned += [_assign(cell, side) for cell in run]
    return sorted(assigned, key=lambda cell: cell.file)


def _is_broken(run: Sequence[Cell]) -> bool:
    """Whether more of its cells are certainly defective than good."""
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
    """Return the image AUROC of each method, by category: as calibrated, or the rivals' best."""
    found: dict[str, dict[str, float]] = {}
    for category, standings in result["baselines"]["categories"].items():
        for standing in standings:
            method, auroc = standing["method"], standing["image_auroc"]
            ours = standing["score"] == "calibrated"
            if not ours and method == standings[0]["method"]:
                continue
            best = found.setdefault(method, {})
            best[category] = max(auroc, best.get(category, 0.0))
    return found


def run_one(kind: Kind, seed: int, root: Path) -> dict[str, Any]:
    """Return one split's outcome; its images, store and result lie in `root`."""
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
            c: one["false_reject_rate"] for c, one in result["categories"].items()
        },
    }


def means(trials: Iterable[Mapping[str, Any]], kind: Kind) -> dict[str, dict[str, float]]:
    """Return each method's mean image AUROC over the splits of a kind, by category."""
    found = [trial["image_auroc"] for trial in trials if trial["split"] == kind]
    return {
        method: {c: mean(one[method][c] for one in found) for c in by_category}
        for method, by_category in found[0].items()
    }


def main(
    root: Annotated[Path, typer.Argument(help="Where images, networks and results are kept.")],
    kinds: Annotated[list[Kind] | None, typer.Option("--kind", help="By default both.")] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="Of a split and its network: 1, 2 and 3.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Train and evaluate on several splits, and print the mean image AUROC of each method.

    The rivals' figure is that of their best of four image scores (highest pixel or mean of the
    highest 1 %, with the border or without), chosen on the test images: it flatters them.
    """
    kinds = kinds or list(Kind)
    trials = []
    for seed in seeds or [1, 2, 3]:
        for kind in kinds:
            print(f"{kind} split, seed {seed}", flush=True)
            trials.append(run_one(kind, seed, root))
            print(json.dumps(trials[-1]["image_auroc"]), flush=True)
    found = {kind.value: means(trials, kind) for kind in kinds}
    print(json.dumps(found, indent=2))
    if json_file is not None:
        record = {"recipe": RECIPE, "versions": versions(), "mean": found, "trials": trials}
        json_file.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)

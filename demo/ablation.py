"""Measures the effect of each training option on development cells; reads no test image.

    python -m demo.solar prepare data/solar-dev --development
    python -m demo.ablation data/solar-dev data/solar-ablation --group scan --group training \
        --json benchmarks/results/solar-ablation.json

Every variant is the shipped recipe with one option changed. Good cells are the held-out ones,
defective cells the certainly defective ones of the development split. The group `scan` varies
states and directions; its variants are also timed, in turns, once all are trained. Finished trials
are reused. Each takes about 10 minutes on two cores.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks.cpu import commit
from demo.scorings import DEFECTIVE
from demo.trial import NAME, RECIPE, run_trial
from model.benchmark import Subject, device_name, measure, of_checkpoint, versions
from model.checkpoints.checkpoint import CheckpointStore
from service.settings import tune_torch

SHIPPED = "shipped"
Overrides = tuple[str, ...]


def _scan(states: int, directions: int) -> Overrides:
    return f"network.state_size={states}", f"network.directions={directions}"


GROUPS: Mapping[str, Mapping[str, Overrides]] = {
    "scan": {
        "16 states, 8 directions": _scan(16, 8),
        "8 states, 4 directions": _scan(8, 4),
        "4 states, 4 directions": _scan(4, 4),
        "1 state, 4 directions": _scan(1, 4),
        "4 states, 2 directions": _scan(4, 2),
        "1 state, 2 directions": (),
    },
    "training": {
        SHIPPED: (),
        "another seed": ("training.seed=1",),
        "mean squared error": ("training.loss=mse",),
        "noise on features, 0.2": ("training.disturbance.feature_noise=0.2",),
        "noise on features, 1.2": ("training.disturbance.feature_noise=1.2",),
        "dropout in the fusion, 0.2": ("training.disturbance.fusion_dropout=0.2",),
        "hard mining, 0.9": ("training.emphasis.hard_mining=0.9",),
        "border at half weight": (
            "training.emphasis.border_share=0.05",
            "training.emphasis.border_weight=0.5",
        ),
        "12 epochs": ("training.epochs=12",),
    },
}
"""The changed options, as arguments of `mambaad train --set`."""

BATCH_SIZES = (1, 8)
TURNS = 5


def folder_name(variant: str) -> str:
    """Return a variant's folder."""
    return variant.replace(",", "").replace(" ", "-")


def image_aurocs(result: Mapping[str, Any]) -> dict[str, float]:
    """Return each category's image AUROC against its certainly defective cells."""
    return {
        category: figures["defects"][DEFECTIVE]["image_auroc"]
        for category, figures in result["categories"].items()
    }


def train(data: Path, root: Path, variant: str, overrides: Overrides) -> dict[str, Any]:
    """Return one variant's result; `root` holds its store and result file."""
    options = [word for override in overrides for word in ("--set", override)]
    result = run_trial(data, root / folder_name(variant), options)
    return {"variant": variant, "set": list(overrides), "image_auroc": image_aurocs(result)}


def times(subjects: Mapping[str, Subject], repeats: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of a batch of each size; variants run in turns."""
    times_ms: dict[str, dict[str, float]] = {name: {} for name in subjects}
    for batch_size in BATCH_SIZES:
        turns: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(TURNS):
            for name, subject in subjects.items():
                turns[name].append(measure(subject, batch_size, repeats).p50_ms)
        for name, medians in turns.items():
            times_ms[name][f"batch_{batch_size}_ms"] = median(medians)
    return times_ms


def subject(root: Path, variant: str) -> Subject:
    """Load the trained variant to time it."""
    store = CheckpointStore(root / folder_name(variant) / "weights")
    return of_checkpoint(store.load(NAME), "cpu")


def main(
    data: Annotated[Path, typer.Argument(help="The development cells.")],
    root: Annotated[Path, typer.Argument(help="The folder for networks and results.")],
    groups: Annotated[
        list[str] | None, typer.Option("--group", help=f"{' or '.join(GROUPS)}; by default all.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--variant", help="Only these variants of the groups.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Batches in each turn of timing.")] = 10,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Train every variant on the development cells of DATA, and print its image AUROC."""
    record: dict[str, Any] = {"recipe": RECIPE, "commit": commit(), "versions": versions()}
    record["device_name"] = device_name("cpu")
    for group in groups or list(GROUPS):
        variants = chosen(group, only)
        record[group] = [train(data, root, *variant) for variant in variants.items()]
        for result in record[group]:
            print(result, flush=True)
    if "scan" in record:
        tune_torch()
        subjects = {row["variant"]: subject(root, row["variant"]) for row in record["scan"]}
        timed = times(subjects, repeats)
        record["scan"] = [row | timed[row["variant"]] for row in record["scan"]]
        print(json.dumps(timed, indent=2))
    if json_file is not None:
        json_file.write_text(json.dumps(record, indent=2) + "\n")


def chosen(group: str, only: Sequence[str] | None) -> dict[str, Overrides]:
    """Return a group's variants, or only the requested ones."""
    if group not in GROUPS:
        raise typer.BadParameter(f"no group {group!r}; have: {', '.join(GROUPS)}")
    unknown = set(only or ()) - {name for variants in GROUPS.values() for name in variants}
    if unknown:
        have = ", ".join(name for variants in GROUPS.values() for name in variants)
        raise typer.BadParameter(f"no variant {sorted(unknown)[0]!r}; have: {have}")
    return {name: o for name, o in GROUPS[group].items() if not only or name in only}


if __name__ == "__main__":
    typer.run(main)

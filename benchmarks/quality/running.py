"""Measure sets one after the other; results on disk are kept, so that a run can go on."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.quality.differences import Standing, stand
from benchmarks.quality.making import VERSION, make
from benchmarks.quality.measuring import (
    METHODS,
    NETWORK,
    choose_recipe,
    describe_recipe,
    measure_baselines,
    measure_network,
    read_material,
)
from benchmarks.quality.results import Result, read_result, result_file, write_result
from benchmarks.quality.sets import QualitySet
from model.errors import ModelError

DAY_S = 86_400


def identify(a_set: QualitySet, seed: int, recipe: str) -> dict[str, Any]:
    """Return everything that a result depends on, except the code of the methods."""
    described = describe_recipe(recipe)
    return {"set": a_set.to_dict(), "images": VERSION, "seed": seed, "recipe": described}


def run(
    sets: Sequence[QualitySet], seeds: Sequence[int], recipe: str, folder: Path, console: Console
) -> list[str]:
    """Measure what is missing in `folder`; return the failures, which do not stop the run."""
    failures = []
    with _progress(console) as progress:
        task = progress.add_task("", total=sum(map(cost, sets)) * len(seeds))
        for seed in seeds:
            for a_set in sets:
                label = f"{a_set.name}, seed {seed}"
                progress.update(task, description=label)
                try:
                    is_new = measure_one(a_set, seed, recipe, folder)
                except ModelError as error:
                    failures.append(f"{label}: {error}")
                    console.print(f"failed: {failures[-1]}", markup=False)
                    is_new = True
                if is_new:
                    progress.advance(task, cost(a_set))
                else:  # costs nothing, so that it does not spoil the estimate of the time left
                    total = progress.tasks[0].total or 0
                    progress.update(task, total=total - cost(a_set))
    return failures


def measure_one(a_set: QualitySet, seed: int, recipe: str, folder: Path) -> bool:
    """Measure one set with one seed; return False if all results exist."""
    identity = identify(a_set, seed, recipe)
    files = {method: result_file(folder, a_set.name, seed, method) for method in METHODS}
    missing = [method for method in METHODS if read_result(files[method], identity) is None]
    if not missing:
        return False
    scratch = folder / a_set.name / f"seed-{seed}" / "scratch"
    make(a_set, seed, scratch / "data")
    made_by = choose_recipe(a_set, seed, recipe, scratch / "data")
    material = read_material(scratch / "data", made_by, scratch, identity)
    if any(method != NETWORK for method in missing):
        for result in measure_baselines(material):
            write_result(result, files[result.method])
    if NETWORK in missing:
        write_result(measure_network(material), files[NETWORK])
    shutil.rmtree(scratch)
    return True


def standings(
    sets: Sequence[QualitySet], seeds: Sequence[int], recipe: str, folder: Path
) -> list[Standing]:
    """Compare the methods on each set, with the seeds for which all of them have a result."""
    made = []
    for a_set in sets:
        by_method: dict[str, list[Result]] = {method: [] for method in METHODS}
        for seed in seeds:
            identity = identify(a_set, seed, recipe)
            results = {
                m: read_result(result_file(folder, a_set.name, seed, m), identity) for m in METHODS
            }
            complete = {m: result for m, result in results.items() if result is not None}
            if len(complete) == len(METHODS):
                for method, result in complete.items():
                    by_method[method].append(result)
        if by_method[NETWORK]:
            made.append(stand(by_method))
    return made


def cost(a_set: QualitySet) -> float:
    """Return about how long a set takes, in units of one test image."""
    return len(a_set.categories) * (3 * a_set.good + sum(a_set.tested) + 60)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns: Sequence[Any] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=DAY_S) as progress:
        yield progress

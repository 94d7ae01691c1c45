"""Measures whether OpenVINO finds the defects that torch finds: the same test images by both.

    python -m demo.solar prepare data/solar
    python -m benchmarks.engine_quality data/solar --json benchmarks/results/engines-quality.json

Two subjects: the shipped checkpoint on the test split of its solar cells, which has no masks, and a
network that is trained by the recipe `fast` on brick-50, a development set of the quality benchmark
with a mask for each defect. A precision that this processor lacks is null. It takes two and a half
minutes of processor time.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.quality.making import make
from benchmarks.quality.sets import SETS
from model.checkpoints.agreement import PRECISIONS
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.dataset import Sample, read_dataset
from model.engines.openvino.graphs import has_precision, processor
from model.evaluation import Evaluation, evaluate
from model.inference.detector import Detector
from model.runtimes.openvino import in_precision
from model.runtimes.torch import open_checkpoint
from model.training import read_training_data
from model.training.recipe.recipe import Recipe, read_recipe
from model.training.run import Run, train

ROOT = Path(__file__).parents[1]
TEXTURE = "brick-50"
TORCH = "torch, float32"
METRICS = ("image_auroc", "aupro")
LIMITS = {"image_auroc": 0.001, "aupro": 0.002}
"""What a metric may change by."""


def measured(checkpoint: Checkpoint, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the metrics by way to compute, and how each differs from torch."""
    ways: dict[str, Evaluation | None] = {TORCH: tested(open_checkpoint(checkpoint), samples)}
    for precision in PRECISIONS:
        detector = in_precision(checkpoint, precision) if has_precision(precision) else None
        ways[f"openvino, {precision}"] = detector and tested(detector, samples)
    expected = ways[TORCH]
    assert expected is not None
    return {
        "images": len(samples),
        "ways": {
            way: None if found is None else metrics(found) | difference(found, expected)
            for way, found in ways.items()
        },
    }


def tested(detector: Detector, samples: Sequence[Sample]) -> Evaluation:
    """Evaluate without intervals, which need many resamplings: both have the same images."""
    return evaluate(detector, samples, progress=True, resamplings=1)


def metrics(found: Evaluation) -> dict[str, Any]:
    """Return the metrics of each category."""
    return {
        "categories": {
            category: {name: getattr(values, name) for name in METRICS}
            for category, values in found.categories.items()
        }
    }


def difference(found: Evaluation, expected: Evaluation) -> dict[str, Any]:
    """Return the largest changes of metrics and scores, and the changed decisions."""
    pairs = list(zip(found.records, expected.records, strict=True))
    changes: dict[str, Any] = {}
    for name in METRICS:
        both = [
            (getattr(values, name), getattr(expected.categories[category], name))
            for category, values in found.categories.items()
        ]
        known = [abs(a - b) for a, b in both if a is not None and b is not None]
        changes[name] = max(known) if known else None
    within = all(changes[name] is None or changes[name] <= LIMITS[name] for name in METRICS)
    return {
        "largest_changes": changes | {"score": max(abs(a.score - b.score) for a, b in pairs)},
        "changed_decisions": sum(a.decision != b.decision for a, b in pairs),
        "within_limits": within,
    }


def trained(folder: Path) -> tuple[Checkpoint, Sequence[Sample]]:
    """Train a network on the texture; return it and the test images."""
    make(SETS[TEXTURE], 0, folder / "images")
    recipe = Recipe.from_values(read_recipe("fast"))
    config = recipe.training
    data = read_training_data(folder / "images", None, None, config.held_out_fraction, config.seed)
    store = CheckpointStore(folder / "weights")
    run = Run(name="texture", folder=folder / "run", store=store, recipe=recipe, restart=True)
    checkpoint = train(run, data)
    assert checkpoint is not None
    return store.load("texture"), read_dataset(folder / "images", None).test


def main(
    solar: Annotated[Path, typer.Argument(help="The folder that `demo.solar prepare` has made.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results.")] = None,
) -> None:
    """Measure both subjects, and print them."""
    shipped = CheckpointStore(ROOT / "weights").load("solar")
    test = read_dataset(solar, list(shipped.manifest.categories)).test
    subjects = {"shipped checkpoint": measured(shipped, test)}
    with TemporaryDirectory(prefix="mambaad-engines-") as folder:
        subjects[TEXTURE] = measured(*trained(Path(folder)))
    results = {
        "command": "python -m benchmarks.engine_quality data/solar",
        "processor": processor(),
        "versions": {n: version(n) for n in ("torch", "openvino", "numba", "numpy")},
        "limits": LIMITS,
        "subjects": subjects,
    }
    text = json.dumps(results, indent=2, default=np.ndarray.tolist)
    print(text)
    if json_file is not None:
        json_file.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    typer.run(main)

"""Compares variants of the demonstration's image score, on development cells.

    python -m demo.solar prepare data/solar-dev --development
    python -m demo.scorings data/solar-dev --json benchmarks/results/solar-scorings.json

Uses the shipped network. Good cells are the held-out ones, defective cells the certainly defective
ones of the development split; no test image is read.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from model.benchmark import versions
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.dataset import ImageDataset, Sample, read_mvtec
from model.inference.detector import Detector
from model.metrics import auroc
from model.runtimes.torch import torch_detector
from model.scoring.scores import Scoring
from model.training.thresholds import fit_baselines

BATCH = 8
DEFECTIVE = "defective"
COARSE = (0.0, 1.0, 1.0)
"""The shipped network does not reconstruct the finest scale, so no score can use it."""
VARIANTS = (
    Scoring(scale_weights=COARSE),
    Scoring(statistic="top_mean", top_fraction=0.005, scale_weights=COARSE),
    Scoring(statistic="top_mean", top_fraction=0.005, scale_weights=COARSE, standardise=True),
    Scoring(
        statistic="top_mean", top_fraction=0.005, scale_weights=(0.0, 1.0, 2.0), standardise=True
    ),
    *(
        replace(statistic, scale_weights=weights, distance="mahalanobis")
        for weights in (COARSE, (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        for statistic in (Scoring(), Scoring(statistic="top_mean", top_fraction=0.005))
    ),
)  # fmt: skip


def raw_scores(detector: Detector, samples: Sequence[Sample]) -> Iterator[float]:
    """Yield the raw score of each image."""
    images = ImageDataset(samples, detector.preprocessing)
    for start in range(0, len(samples), BATCH):
        group = range(start, min(start + BATCH, len(samples)))
        batch = np.stack([images[i][0].numpy() for i in group])
        maps = detector.anomaly_maps(batch, [samples[i].category for i in group])
        yield from detector.scoring.raw_scores(maps).tolist()


def image_aurocs(
    checkpoint: Checkpoint, scoring: Scoring, train: Sequence[Sample], test: Sequence[Sample]
) -> dict[str, float | None]:
    """Return each category's image AUROC with one scoring."""
    detector = torch_detector(checkpoint.network, checkpoint.preprocessing, scoring, {})
    if scoring.uses_baselines:
        shapes = checkpoint.network.feature_shapes
        detector.baselines = fit_baselines(detector, train, shapes)
    aurocs = {}
    for category in sorted({sample.category for sample in test}):
        samples = [sample for sample in test if sample.category == category]
        labels = np.array([not sample.is_good for sample in samples])
        aurocs[category] = auroc(labels, np.array(list(raw_scores(detector, samples))))
    return aurocs


def main(
    data: Path,
    name: Annotated[str, typer.Option(help="The checkpoint.")] = "solar",
    weights: Annotated[Path, typer.Option(help="The checkpoint store.")] = Path("weights"),
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print the image AUROC of every variant on the development cells of DATA."""
    checkpoint = CheckpointStore(weights).load(name)
    dataset = read_mvtec(data)
    test = [sample for sample in dataset.test if sample.is_good or sample.defect == DEFECTIVE]
    results = []
    for scoring in VARIANTS:
        aurocs = image_aurocs(checkpoint, scoring, dataset.train, test)
        print(scoring, aurocs, flush=True)
        results.append({"scoring": asdict(scoring), "image_auroc": aurocs})
    if json_file is not None:
        record = {"checkpoint": f"{name} {checkpoint.version}", "versions": versions()}
        json_file.write_text(json.dumps(record | {"results": results}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)

"""`mambaad evaluate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from model.cli.options import (
    STORE,
    BatchSize,
    Categories,
    Data,
    Device,
    Layout,
    LocalRoot,
    Name,
    Version,
    Weights,
)
from model.errors import DatasetError


def evaluate(
    name: Name,
    data: Data,
    *,
    category: Categories = None,
    layout: Layout = None,
    local_root: LocalRoot = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the results as JSON.")
    ] = None,
    record: Annotated[
        bool, typer.Option(help="Keep the results in the checkpoint's manifest.")
    ] = True,
    batch_size: BatchSize = 8,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Measure a checkpoint on the test images of DATA, per category and in the mean.

    Pixel metrics are given where DATA has ground_truth masks. Rates are those
    at the calibrated threshold, which evaluation never changes.

    For example:

      mambaad evaluate bottle data/mvtec

      mambaad evaluate bottle data/other --no-record --json other.json
    """
    from rich.console import Console

    from model import evaluation
    from model.checkpoint import CheckpointStore
    from model.dataset import read_dataset
    from model.detector import Detector

    store = CheckpointStore(weights)
    checkpoint = store.load(name, version)
    chosen = category or checkpoint.manifest.categories
    samples = read_dataset(data, chosen, layout, local_root).test
    if not samples:
        raise DatasetError(f"no test images in {data}: expected <category>/test/<defect>/*.png")
    detector = Detector.from_checkpoint(checkpoint, device=device)
    found = evaluation.evaluate(detector, samples, batch_size, progress=True)
    Console().print(found.table())
    results = found.to_dict()
    if record:
        store.update(checkpoint, metrics=results)
    if json_file is not None:
        about = {"name": checkpoint.name, "version": checkpoint.version}
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"checkpoint": about, **results}, indent=2) + "\n")

"""`mambaad golden`."""

from pathlib import Path
from typing import Annotated

import typer

from model.cli.checkpoints.good_images import held_out_of_training, new_images
from model.cli.early import find_data, find_version
from model.cli.options import STORE, Categories, Defective, Device, Good, Name, Version, Weights
from model.errors import CalibrationError


def golden(
    name: Name,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="The training data; uses its held-out images."),
    ] = None,
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Other good images: DIR/<category>/, or DIR itself for a single --category.",
        ),
    ] = None,
    category: Categories = None,
    good: Good = None,
    defective: Defective = None,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Save a new version of a checkpoint, with golden images.

    The checkpoint stores a few good images with their current scores. Loading
    it on any device compares the scores before serving. Training and import add
    golden images automatically.

    For example:

      mambaad golden bottle data/mvtec

      mambaad golden bottle --images line-3/good --category bottle
    """
    if (data is None) == (images is None):
        raise CalibrationError("give either DATA or --images DIR, not both")
    find_version(weights, name, version)
    find_data(data or images or Path())
    from model.checkpoints.checkpoint import CheckpointStore
    from model.runtimes.torch import open_checkpoint
    from model.training.golden import record_golden, save_with_golden

    store = CheckpointStore(weights)
    checkpoint = store.load(name, version)
    samples = (
        held_out_of_training(checkpoint.manifest, data, category, good, defective)
        if data is not None
        else new_images(checkpoint.manifest, images or Path(), category)
    )
    detector = open_checkpoint(checkpoint, device=device)
    golden_sets = record_golden(detector, samples, checkpoint.calibrations)
    saved = save_with_golden(store, checkpoint, golden_sets)
    count = sum(len(golden_set.images) for golden_set in golden_sets.values())
    print(f"saved {saved.name}, version {saved.version}, with {count} golden images")

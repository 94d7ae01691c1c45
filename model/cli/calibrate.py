"""`mambaad calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import STORE, BatchSize, Categories, Device, Name, Version, Weights
from model.errors import CalibrationError

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.dataset import Sample


def calibrate(
    name: Name,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="The data trained on: its held-out images are used."),
    ] = None,
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="New good images: DIR/<category>/, or DIR itself for a single --category.",
        ),
    ] = None,
    category: Categories = None,
    alpha: Annotated[float, typer.Option(help="The false-reject rate to promise.")] = 0.01,
    batch_size: BatchSize = 8,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Set the thresholds of a checkpoint again, from good images it has not learned from.

    For example:

      mambaad calibrate bottle data/mvtec --alpha 0.005

      mambaad calibrate bottle --images line-3/good --category bottle
    """
    from model.checkpoint import CheckpointStore
    from model.cli.watching import counting
    from model.detector import Detector
    from model.training import calibrate as fit

    if (data is None) == (images is None):
        raise CalibrationError("give either DATA or --images DIR, and not both")
    store = CheckpointStore(weights)
    checkpoint = store.load(name, version)
    samples = (
        held_out_of_training(checkpoint, data, category)
        if data is not None
        else new_images(checkpoint, images or Path(), category)
    )
    detector = Detector.from_checkpoint(checkpoint, device=device)
    with counting(len(samples), "calibrating") as advance:
        calibrations = fit(
            detector, checkpoint.scoring, samples, alpha, batch_size=batch_size, advance=advance
        )
    # Rates at the old thresholds are no longer true of this checkpoint.
    store.update(checkpoint, calibrations=calibrations, metrics={})
    for part, calibration in calibrations.items():
        print(f"{part}: threshold {calibration.image_threshold:.6g}. {calibration.promise()}")
    print(f"updated {checkpoint.name}, version {checkpoint.version}; evaluate it again")


def new_images(
    checkpoint: "Checkpoint", folder: Path, categories: list[str] | None
) -> list["Sample"]:
    """Return the good images in `folder` of the categories named, or of those calibrated for."""
    from model.training.data import read_good_categories

    chosen = categories or list(checkpoint.manifest.categories)
    if not chosen:
        raise CalibrationError(f"{checkpoint.name!r} has no categories yet: name one by --category")
    return read_good_categories(folder, chosen)


def held_out_of_training(
    checkpoint: "Checkpoint", data: Path, categories: list[str] | None
) -> list["Sample"]:
    """Return the very images that were held out when the checkpoint was trained on `data`."""
    from model.training import read_training_data
    from model.training.data import digests

    training = checkpoint.manifest.training
    if "recipe" not in training:
        raise CalibrationError(
            f"{checkpoint.name!r} was not trained here, so which images of {data} it has learned "
            "from is not known: give good images that it has not seen by --images DIR"
        )
    fraction, seed = training["recipe"]["held_out_fraction"], training["recipe"]["seed"]
    samples = list(read_training_data(data, categories, None, fraction, seed).held_out)
    recorded = training["images"]["held_out"]
    for category, found in digests(samples).items():
        if found != recorded.get(category):
            raise CalibrationError(
                f"the held-out images of {category!r} in {data} are not those of the training "
                f"({found}, then {recorded.get(category, 'none')}): some may have been learned "
                "from; give good images that were not by --images DIR"
            )
    return samples

"""`mambaad advise`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.checkpoints.good_images import images_of_training, new_images
from model.cli.early import find_data, find_images, find_version
from model.cli.options import (
    STORE,
    Categories,
    Data,
    Defective,
    Device,
    Good,
    MaxPixels,
    Name,
    Version,
    Weights,
)
from model.errors import CalibrationError

if TYPE_CHECKING:
    from model.checkpoints.manifest import Manifest


def advise(
    name: Name,
    data: Data,
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Good images to draw into, as in calibrate; by default those held out in DATA.",
        ),
    ] = None,
    category: Categories = None,
    good: Good = None,
    defective: Defective = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Each draws 27 defects a category.")
    ] = 4,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no further round after them.")] = 5.0,
    record: Annotated[bool, typer.Option(help="Record it in the checkpoint's manifest.")] = True,
    max_pixels: MaxPixels = None,
    device: Device = "cpu",
    version: Version = None,
    weights: Weights = STORE,
) -> None:
    """Repeat the self-check of a training: draw defects into good parts, and count what is found.

    The parts are those held out from the training on DATA. The thresholds do not
    change. PaDiM and PatchCore are fitted on the training images for comparison.

    For example:

      mambaad advise bottle data/mvtec

      mambaad advise bottle data/mvtec --images line-3/good --category bottle --rounds 20
    """
    manifest = find_version(weights, name, version)
    recipe = recipe_of(manifest)
    find_data(data)
    if images is not None:
        find_images(images, "--images")
    chosen = category or list(manifest.categories)
    if images is None:
        learned = images_of_training(manifest, data, chosen, good, defective)
        parts = list(learned.held_out)
    else:
        from model.dataset import Words
        from model.training.data import read_training_data

        words = Words.given(good, defective, category)
        split = recipe["held_out_fraction"], recipe["seed"]
        folds = recipe.get("folds", 0)
        learned = read_training_data(data, chosen, None, *split, folds=folds, words=words)
        parts = new_images(manifest, images, category)
    from model.checkpoints.checkpoint import CheckpointStore
    from model.cli.advising import check_parts, tell
    from model.training.advice import CheckRequest, recommend

    store = CheckpointStore(weights)
    checkpoint = store.load(name, version)
    learned = learned.keep_apart(recipe.get("watch_fraction", 0.0), recipe["seed"])
    request = CheckRequest(
        parts=parts,
        train=learned.train,
        seconds=60 * minutes,
        seed=recipe["seed"],
        rounds=rounds,
    )
    check = check_parts(checkpoint, request, device, "--rounds and --minutes change it")
    good_images = [*learned.train, *learned.watch, *parts]
    recommendation = recommend(checkpoint, good_images, check)
    tell(recommendation.sentences)
    if record:
        store.update(checkpoint, training=recommendation.to_dict())


def recipe_of(manifest: "Manifest") -> Mapping[str, Any]:
    """Return the recipe of the checkpoint's training; raises `CalibrationError` if unknown."""
    recipe: Mapping[str, Any] | None = manifest.training.get("recipe")
    if recipe is None:
        raise CalibrationError(
            f"{manifest.name!r} was not trained here, so its training images are unknown: "
            "baselines cannot be compared with it"
        )
    return recipe

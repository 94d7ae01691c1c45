"""The good images behind a checkpoint: those held out in its training, or new ones."""

from pathlib import Path
from typing import TYPE_CHECKING

from model.cli.early import find_data, find_images
from model.errors import CalibrationError

if TYPE_CHECKING:
    from model.checkpoints.manifest import Manifest
    from model.dataset import Sample
    from model.training import TrainingData


def good_images(
    manifest: "Manifest",
    data: Path | None,
    images: Path | None,
    categories: list[str] | None,
    words: tuple[list[str] | None, list[str] | None],
) -> list["Sample"]:
    """Return the good images that `data` held out in training, or else the new ones in `images`.

    `words` are the names of folders of good and of defective parts. Raises the error of a folder
    that does not exist or is empty.
    """
    if data is not None:
        find_data(data)
        return held_out_of_training(manifest, data, categories, *words)
    folder = images or Path()
    find_images(folder, "--images")
    return new_images(manifest, folder, categories)


def new_images(manifest: "Manifest", folder: Path, categories: list[str] | None) -> list["Sample"]:
    """Return the good images in `folder` of `categories`, or of all calibrated categories."""
    from model.training.data import read_good_categories

    chosen = categories or list(manifest.categories)
    if not chosen:
        raise CalibrationError(f"{manifest.name!r} has no categories yet: give one with --category")
    return read_good_categories(folder, chosen)


def held_out_of_training(
    manifest: "Manifest",
    data: Path,
    categories: list[str] | None,
    good: list[str] | None = None,
    defective: list[str] | None = None,
) -> list["Sample"]:
    """Return the images that were held out when the checkpoint was trained on `data`.

    `good` and `defective` are the folder names that were given to training.
    """
    return list(images_of_training(manifest, data, categories, good, defective).held_out)


def images_of_training(
    manifest: "Manifest",
    data: Path,
    categories: list[str] | None,
    good: list[str] | None = None,
    defective: list[str] | None = None,
) -> "TrainingData":
    """Return the images in `data` as the checkpoint's training used them.

    Raises `CalibrationError` unless the held-out ones are those of the training.
    """
    from model.dataset import Words
    from model.training.data import digests, divide_as_recorded, find_good_images

    training = manifest.training
    if "recipe" not in training:
        raise CalibrationError(
            f"{manifest.name!r} was not trained here, so the images of {data} used in training "
            "are unknown: give good images that it has not seen with --images DIR"
        )
    if training["recipe"].get("folds"):
        raise CalibrationError(
            f"{manifest.name!r} was trained in folds, on all good images, so none are held "
            "out: give good images that it has not seen with --images DIR"
        )
    words = Words.given(good, defective, categories)
    fraction, seed = training["recipe"]["held_out_fraction"], training["recipe"]["seed"]
    recorded = training["images"]["held_out"]
    found = find_good_images(data, categories, words=words)
    images = divide_as_recorded(found, fraction, seed, recorded)
    for category, digest in digests(images.held_out).items():
        if digest != recorded.get(category):
            raise CalibrationError(
                f"the held-out images of {category!r} in {data} are not those of the training "
                f"(got {digest}, recorded {recorded.get(category, 'none')}), so training may have "
                "used some: give good images that it has not seen with --images DIR"
            )
    return images

"""Read folders that the user declares to be only good or only defective parts.

good_parts(Path("line-3/good"), "bolt")
defective_parts(Path("rejects"), "bolt")      rejects/*.png, rejects/<kind>/*.png
"""

from collections.abc import Iterator
from pathlib import Path

from model.dataset.readers.folders import listing
from model.dataset.readers.trees import Place, Reading
from model.dataset.sample import DEFECTIVE, GOOD, Sample
from model.errors import DatasetError
from model.images.files import walk
from model.inspection import Category
from model.words import Words


def good_parts(folder: Path, category: Category) -> list[Sample]:
    """Return the images in `folder` or in its folders of good parts, in order of path.

    Includes folders named by date. Raises `DatasetError` if there are no images, for splits, if all
    parts are defective, and for folders with unknown names.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}: expected good images of {category!r} in it")
    placed = list(_placed(folder))
    for path, place in placed:
        if place.split is not None:
            raise DatasetError(
                f"{folder} has a split ({path.parent}): give a folder of good parts that are used "
                f"for neither training nor test"
            )
    good = [path for path, place in placed if place.good]
    if not good:
        good = [path for path, place in placed if place.good is None]
        strange = next((p for p, place in placed if place.good is None and place.above), None)
        if strange is not None and not Words().meaning(folder.resolve().name).good:
            raise DatasetError(
                f"{folder} has subfolders with unknown names ({strange.parent.name}/): are these "
                f"good parts of {category!r}? Give their folder, or rename it to good"
            )
    if not good:
        raise DatasetError(
            f"no images in {folder}: expected good ones of {category!r}, found {listing(folder)}"
        )
    return [Sample(path, category, GOOD) for path in good]


def defective_parts(folder: Path, category: Category) -> list[Sample]:
    """Return the images in `folder` and its folders by kind, in order of path.

    Raises `DatasetError` for a folder of good parts, and if there are no images.
    """
    samples = []
    for path, place in _placed(folder):
        if place.good:
            raise DatasetError(
                f"{folder} has a folder {place.label!r} of good parts: give only defective examples"
            )
        names = (*place.above, *place.below)
        samples.append(Sample(path, category, names[-1] if names else DEFECTIVE))
    if not samples:
        raise DatasetError(f"no defective examples of {category!r} in {folder}")
    return samples


def _placed(folder: Path) -> Iterator[tuple[Path, Place]]:
    """Yield each image that is not a mask, with the meaning of its folders below `folder`."""
    if not folder.is_dir():
        return
    reading = Reading(Words(), folder.resolve().name)
    for path in walk(folder).images:
        place = reading.place(path.parent.parts)
        if not place.mask:
            yield folder / path, place

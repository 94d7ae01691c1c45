"""Folders of which somebody says that they hold good parts, or defective ones, and nothing else.

good_parts(Path("line-3/good"), "bolt")
defective_parts(Path("rejects"), "bolt")      rejects/*.png, rejects/<kind>/*.png
"""

from collections.abc import Iterator
from pathlib import Path

from model.dataset.readers.folders import listing
from model.dataset.readers.trees import Place, Reading
from model.dataset.readers.words import Words
from model.dataset.sample import DEFECTIVE, GOOD, Sample
from model.errors import DatasetError
from model.images.files import walk
from model.inspection import Category


def good_parts(folder: Path, category: Category) -> list[Sample]:
    """Return the images in `folder`, or in its folders of good parts, in order of path.

    Folders by date count as the folder itself. Raises `DatasetError` where there are none, where
    the folder holds splits or only defective parts, and for folders that might hold anything.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}: expected good images of {category!r} in it")
    placed = list(_placed(folder))
    for path, place in placed:
        if place.split is not None:
            raise DatasetError(
                f"{folder} holds a split ({path.parent}): give the folder of its good parts that "
                f"are neither trained on nor tested with"
            )
    good = [path for path, place in placed if place.good]
    if not good:
        good = [path for path, place in placed if place.good is None]
        strange = next((p for p, place in placed if place.good is None and place.above), None)
        if strange is not None and not Words().meaning(folder.resolve().name).good:
            raise DatasetError(
                f"{folder} holds folders of its own ({strange.parent.name}/): are these good parts "
                f"of {category!r}? Give the folder that holds them, or call it good"
            )
    if not good:
        raise DatasetError(
            f"no images in {folder}: expected good ones of {category!r}, found {listing(folder)}"
        )
    return [Sample(path, category, GOOD) for path in good]


def defective_parts(folder: Path, category: Category) -> list[Sample]:
    """Return the images in `folder`, and in its folders by kind, in order of path.

    Raises `DatasetError` where a folder of good parts is among them, and where there are none.
    """
    found = []
    for path, place in _placed(folder):
        if place.good:
            raise DatasetError(
                f"{folder} holds a folder {place.label!r}: give defective examples alone"
            )
        names = (*place.above, *place.below)
        found.append(Sample(path, category, names[-1] if names else DEFECTIVE))
    if not found:
        raise DatasetError(f"no defective examples of {category!r} in {folder}")
    return found


def _placed(folder: Path) -> Iterator[tuple[Path, Place]]:
    """Yield each image but masks, and what the folders below `folder` say of it."""
    if not folder.is_dir():
        return
    reading = Reading(Words(), folder.resolve().name)
    for path in walk(folder).images:
        place = reading.place(path.parent.parts)
        if not place.mask:
            yield folder / path, place

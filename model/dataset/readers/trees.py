"""Trees of folders, `<category>/<split>/<kind>/*.png`, as MVTec-AD and those after it have them.

    <category>/train/good/*.png
    <category>/validation/good/*.png                          good parts kept apart, if any; or
    <category>/held_out/good/*.png                            the same under our own name
    <category>/test/good/*.png                                parts that are good
    <category>/test/<defect>/*.png                            parts that are not
    <category>/ground_truth/<defect>/<stem>_mask.png          where the defect is, if known

The root may also be a single category's folder. Hidden files and files that are no images are
passed over; anything else out of place is an error that says what was found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.dataset.readers.folders import folders_in, image_files, images_in, listing, masks_for
from model.dataset.readers.request import Request
from model.dataset.sample import GOOD, Dataset, Sample
from model.errors import DatasetError
from model.inspection import Category

_KEPT_APART = ("held_out", "validation")


@dataclass(frozen=True, slots=True)
class Tree:
    """How one data set names its folders.

    `good` is the folder of good parts; `images` and `masks` the folders below each kind that hold
    them, where it is not the kind's own folder and `ground_truth/<kind>`.
    """

    layout: str
    title: str
    good: str = GOOD
    images: str = ""
    masks: str = ""

    def read(self, request: Request) -> Dataset:
        """Find the images; raises `DatasetError`, saying what was expected and found."""
        folders = self.categories_in(request.root)
        if not folders:
            below = f"{self.good}/{self.images}/*.png" if self.images else f"{self.good}/*.png"
            raise DatasetError(
                f"{request.root} is not in {self.title} layout: expected <category>/train/{below} "
                f"(or train/{below}, of a single category), found {listing(request.root)}"
            )
        chosen = request.choose(folders)
        train = [s for name in chosen for s in self._train(folders[name], name)]
        kept = [s for name in chosen for s in self._kept_apart(folders[name], name)]
        test = [s for name in chosen for s in self._test(folders[name], name)]
        return Dataset(train, test, kept, self.layout)

    def categories_in(self, root: Path) -> dict[Category, Path]:
        """Return the folders of categories, by name."""
        if (root / "train" / self.good).is_dir() or (root / "test" / self.good).is_dir():
            return {root.resolve().name: root}
        found = {folder.name: folder for folder in folders_in(root)}
        return {k: v for k, v in found.items() if (v / "train").is_dir() or (v / "test").is_dir()}

    def _train(self, folder: Path, category: Category) -> list[Sample]:
        train = folder / "train"
        if not train.is_dir():
            return []
        if [kind.name for kind in self._kinds(train)] != [self.good]:
            raise DatasetError(
                f"{train} holds good parts only, in {train / self.good}; found {listing(train)}"
            )
        return self._good(train / self.good, category)

    def _kept_apart(self, folder: Path, category: Category) -> list[Sample]:
        place = next((folder / n for n in _KEPT_APART if (folder / n).is_dir()), None)
        if place is None:
            return []
        inner = place / self.good
        return self._good(inner if inner.is_dir() else place, category)

    def _test(self, folder: Path, category: Category) -> list[Sample]:
        test = folder / "test"
        return [s for kind in self._kinds(test) for s in self._of_kind(folder, kind, category)]

    def _of_kind(self, folder: Path, kind: Path, category: Category) -> Iterator[Sample]:
        if kind.name == self.good:
            yield from self._good(kind, category)
            return
        images = images_in(kind / self.images)
        place = kind / self.masks if self.masks else folder / "ground_truth" / kind.name
        masks = masks_for(place, images)
        for path in images:
            yield Sample(path, category, kind.name, masks.get(path))

    def _good(self, folder: Path, category: Category) -> list[Sample]:
        return [Sample(path, category, GOOD) for path in images_in(folder / self.images)]

    def _kinds(self, folder: Path) -> list[Path]:
        """Return the folders of `train` or `test`; images that lie beside them are an error."""
        loose = [path.name for path in image_files(folder)]
        if loose:
            raise DatasetError(
                f"{folder} holds {len(loose)} images outside any folder ({loose[0]}, ...): "
                f"expected {folder / self.good}, or {folder}/<defect>"
            )
        return folders_in(folder)

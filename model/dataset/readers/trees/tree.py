"""Read a tree of folders: each image's category, split, kind and mask.

    [<category>/]train/good/*.png            [<category>/]good/*.png
    [<category>/]validation/good/*.png       [<category>/]defects/<kind>/*.png
    [<category>/]test/<kind>/*.png           [<category>/]masks/<stem>.png
    [<category>/]ground_truth/<kind>/<stem>_mask.png

The folders may be nested in another order (train/<category>/good); the table in
`model.words` interprets each name. Test images are never used for training or
calibration, and defective images are always test images. Ambiguous folders are errors.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from model.dataset.readers.folders import listing
from model.dataset.readers.request import Request
from model.dataset.readers.rows import Row, dataset_of
from model.dataset.readers.trees.marks import Marked, Matcher, beside
from model.dataset.readers.trees.places import Place, Reading
from model.dataset.readers.trees.sorting import Folder, sort_folders
from model.dataset.sample import GOOD, Dataset, Sample
from model.errors import DatasetError
from model.images.files import Found, Passed, walk
from model.words import fold

NO_IMAGE = "masks without an image, or with several images of the same name"
OUTSIDE = "images outside the folders of good and defective parts"
EMPTY = "folders without images"
LEFT_OUT = "files that this layout ignores"


@dataclass(frozen=True, slots=True)
class Tree:
    """A layout of folders: its name and title.

    Folders named in `left_out` have other data; names in `silent` are ignored.
    """

    layout: str
    title: str
    left_out: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    needs_split: bool = True

    def read(self, request: Request) -> Dataset:
        """Find the images; raises `DatasetError`."""
        files = walk(request.root)
        _check_given(request, files)
        walked = _Walked(request, files, self)
        folders = walked.folders()
        if not any(f.place.split or not self.needs_split for f in folders):
            raise DatasetError(self._expected(request.root))
        dataset = dataset_of(walked.rows(folders), request, self.layout)
        return replace(dataset, passed_over=tuple(files.passed_over + walked.passed_over))

    def _expected(self, root: Path) -> str:
        wanted = "train/good/*.png" if self.needs_split else "good/*.png"
        return (
            f"{root} is not in {self.title} layout: expected <category>/{wanted} (or {wanted}, of "
            f"a single category), found {listing(root)}. Name the folders of good and defective "
            "parts with --good NAME and --defective NAME; use --good . if all images in "
            f"{root.name or root} are good"
        )


def _check_given(request: Request, files: Found) -> None:
    """Refuse a name for good or defective parts that no folder has."""
    names = {part for folder in files.folders for part in folder.parts}
    existing = {fold(name) for name in (*names, request.root.resolve().name, ".")}
    missing = sorted((request.words.good | request.words.defective) - existing)
    if missing:
        raise DatasetError(
            f"{request.root} has no folder named {missing[0]!r}: have "
            f"{', '.join(sorted(names)[:12]) or 'none'}"
        )


class _Walked:
    """The files of one tree while they are being sorted."""

    def __init__(self, request: Request, files: Found, tree: Tree) -> None:
        self.passed_over: list[Passed] = []
        self._request = request
        self._files = files
        name = request.root.resolve().name
        self._reading = Reading(request.words, name, request.categories or (), tree.silent)
        self._places: dict[Path, Place] = {}
        self._images: dict[Path, list[str]] = defaultdict(list)
        self._masks: list[Path] = []
        self._unwanted: frozenset[str] = frozenset()
        for path in files.images:
            if tree.left_out.isdisjoint(path.parts):
                self._images[path.parent].append(path.name)
            else:
                self.passed_over.append(Passed(path, LEFT_OUT))
        self._take_masks()

    def _place(self, folder: Path) -> Place:
        place = self._places.get(folder)
        if place is None:
            place = self._places[folder] = self._reading.place(folder.parts)
        return place

    def _take_masks(self) -> None:
        """Separate masks from images: in folders of masks, and beside images."""
        for folder, names in list(self._images.items()):
            if self._place(folder).mask:
                self._masks += [folder / name for name in names]
                del self._images[folder]
                continue
            masks, orphans = beside(names)
            self._masks += [folder / name for name in masks]
            self.passed_over += [Passed(folder / name, NO_IMAGE) for name in orphans]
            gone = {*masks, *orphans}
            self._images[folder] = [name for name in names if name not in gone]

    def folders(self) -> list[Folder]:
        """Return the folders of wanted images, with category and kind."""
        places = {folder: self._place(folder) for folder, names in self._images.items() if names}
        bare = {folder: self._place(folder) for folder in self._files.bare}
        result = sort_folders(self._request, places, bare)
        self.passed_over += [
            Passed(folder / name, OUTSIDE)
            for folder in result.outside
            for name in self._images[folder]
        ]
        self.passed_over += [Passed(folder, EMPTY) for folder in result.empty]
        self._unwanted = result.unwanted
        return result.folders

    def rows(self, folders: list[Folder]) -> Iterator[Row]:
        """Yield the images by category in the requested order, then by path."""
        root = self._request.root
        masks = self._matched(folders)
        for folder in folders:
            for name in self._images[folder.path]:
                path = folder.path / name
                mask = masks.get(path)
                marked = None if mask is None else root / mask
                sample = Sample(root / path, folder.category, folder.defect, marked)
                yield Row(sample, folder.split, str(root / path))

    def _matched(self, folders: list[Folder]) -> dict[Path, Path]:
        """Return the masks of defective images, without masks of unwanted categories."""
        defective, good = (
            [
                Marked(f.path / name, f.place.key, f.place.split)
                for f in folders
                if (f.defect == GOOD) is is_good
                for name in self._images[f.path]
            ]
            for is_good in (False, True)
        )
        masks = [
            Marked(path, place.key, place.split)
            for path, place in ((path, self._place(path.parent)) for path in self._masks)
            if self._unwanted.isdisjoint(path.parent.parts)
        ]
        matcher = Matcher(self._request.words, defective, good)
        matched, unmatched = matcher.match(masks, self._request.root)
        self.passed_over += [Passed(path, NO_IMAGE) for path in unmatched]
        return matched

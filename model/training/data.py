"""Choose the good images for training and for holding out."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model.dataset import GOOD, Dataset, Sample, Words, good_parts, read_dataset, split_good
from model.dataset.split import check_number
from model.errors import DatasetError
from model.inspection import Category


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The good images for training, and those held out for calibration and for watching the loss.

    Images in `watch` are used for neither; if given, their loss is watched instead of that of the
    held-out ones. `names` are the original names of renamed categories. `together` are sets of
    images that look the same, which no split and no fold divides.
    """

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    watch: tuple[Sample, ...] = ()
    names: Mapping[Category, str] = field(default_factory=dict)
    together: tuple[frozenset[Sample], ...] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise DatasetError("no good images to train on: expected at least one")

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories in training, in order of name."""
        return tuple(sorted({sample.category for sample in self.train}))

    def identity(self) -> dict[str, dict[Category, str]]:
        """Return digests of each category's images, independent of their folder."""
        identity = {"train": digests(self.train), "held_out": digests(self.held_out)}
        return identity | {"watch": digests(self.watch)} if self.watch else identity

    @property
    def watched(self) -> tuple[Sample, ...]:
        """The good images whose loss is measured after each epoch."""
        return self.watch or self.held_out

    def keep_apart(self, fraction: float, seed: int) -> "TrainingData":
        """Move a share of each category's training images to `watch`.

        Changes nothing if the fraction is 0 or `watch` has images.
        """
        if not fraction or self.watch:
            return self
        train, watch = split_good(self.train, fraction, seed, self.together)
        return replace(self, train=tuple(train), watch=tuple(watch))


@dataclass(frozen=True, slots=True)
class GoodImages:
    """The good images of a data set before some are held out.

    `reserved` are held out already, by the data or a folder of their own; the other fields are as
    in `TrainingData`.
    """

    train: tuple[Sample, ...]
    reserved: tuple[Sample, ...]
    names: Mapping[Category, str] = field(default_factory=dict)
    together: tuple[frozenset[Sample], ...] = ()

    def check_number(self) -> None:
        """Raise `DatasetError` for a category of which no image could be held out."""
        apart = {sample.category for sample in self.reserved}
        for category in sorted({sample.category for sample in self.train} - apart):
            check_number(category, [s for s in self.train if s.category == category])

    def look_for_duplicates(self) -> "GoodImages":
        """Find the images that look the same, so that `divide` keeps them together."""
        from model.dataset.duplicates import alike  # needs torch, which takes seconds to import

        return replace(self, together=tuple(alike(self.train)))

    def divide(self, held_out_fraction: float, seed: int, folds: int = 0) -> TrainingData:
        """Hold out a share of each category without reserved images; with `folds` none.

        Raises `DatasetError` for folds if there are reserved images.
        """
        if folds and self.reserved:
            first = self.reserved[0]
            raise DatasetError(
                f"folds need all good images for training, but some of {first.category!r} are held "
                f"out, such as {first.path}: train without folds, or move them to training"
            )
        apart = {sample.category for sample in self.reserved}
        split = [s for s in self.train if s.category not in apart]
        held_out: list[Sample] = []
        if not folds:
            _, held_out = split_good(split, held_out_fraction, seed, self.together)
        chosen = frozenset(held_out)
        train = tuple(sample for sample in self.train if sample not in chosen)
        ordered = sorted([*self.reserved, *held_out], key=lambda sample: sample.category)
        return TrainingData(train, tuple(ordered), names=self.names, together=self.together)


def find_good_images(
    root: Path,
    categories: Iterable[Category] | None,
    held_out_dir: Path | None = None,
    layout: str | None = None,
    local_root: Path | None = None,
    *,
    words: Words | None = None,
    on_read: Callable[[Dataset], None] = lambda _dataset: None,
) -> GoodImages:
    """Find the good images below `root`, in any known layout.

    The reserved images of a category are those in `held_out_dir`/<category>, or else those that the
    data itself reserves (as in <category>/held_out/good). `layout`, `local_root` and `words` are as
    in `read_dataset`; `on_read` is called with the data set. Raises `DatasetError` for a category
    without good images.
    """
    dataset = read_dataset(root, categories, layout, local_root, words=words)
    on_read(dataset)
    train: list[Sample] = []
    reserved: list[Sample] = []
    for category in dataset.categories:
        good = [sample for sample in dataset.train if sample.category == category]
        if not good:
            raise DatasetError(
                f"no good images of {category!r} to train on in {root}, read as {dataset.layout}: "
                f"expected them in {root / category / 'train' / GOOD}, or as in that layout"
            )
        apart = [sample for sample in dataset.held_out if sample.category == category]
        if held_out_dir is not None:
            apart = _kept_apart(held_out_dir, category, single=len(dataset.categories) == 1)
        train += good
        reserved += apart
    return GoodImages(tuple(train), tuple(reserved), dataset.names)


def read_training_data(
    root: Path,
    categories: Iterable[Category] | None,
    held_out_dir: Path | None,
    held_out_fraction: float,
    seed: int,
    layout: str | None = None,
    local_root: Path | None = None,
    folds: int = 0,
    *,
    words: Words | None = None,
    on_read: Callable[[Dataset], None] = lambda _dataset: None,
) -> TrainingData:
    """Find the good images below `root`, and hold some of them out.

    See `find_good_images` and `GoodImages.divide`; they never include test images.
    """
    found = find_good_images(
        root, categories, held_out_dir, layout, local_root, words=words, on_read=on_read
    )
    return found.look_for_duplicates().divide(held_out_fraction, seed, folds)


def divide_as_recorded(
    images: GoodImages, held_out_fraction: float, seed: int, recorded: Mapping[Category, str]
) -> TrainingData:
    """Divide images like the training that recorded these digests of its held-out images.

    Trainings of earlier versions did not keep images together that look the same. Without a match
    the division is that of a new training.
    """
    plain = images.divide(held_out_fraction, seed)
    if all(recorded.get(c, digest) == digest for c, digest in digests(plain.held_out).items()):
        return plain
    return images.look_for_duplicates().divide(held_out_fraction, seed)


def read_good_categories(folder: Path, categories: Sequence[Category]) -> list[Sample]:
    """Return the good images in `folder`/<category>, or in `folder` for a single category."""
    if len(categories) == 1 and not (folder / categories[0]).is_dir():
        return good_parts(folder, categories[0])
    return [s for category in categories for s in good_parts(folder / category, category)]


def _kept_apart(folder: Path, category: Category, single: bool) -> list[Sample]:
    if single:
        return read_good_categories(folder, [category])
    return good_parts(folder / category, category)


def digests(samples: Sequence[Sample]) -> dict[Category, str]:
    """Return a digest of each category's file names and sizes."""
    by_category: dict[Category, list[str]] = defaultdict(list)
    for sample in samples:
        by_category[sample.category].append(f"{sample.path.name} {sample.path.stat().st_size}\n")
    return {category: _digest(lines) for category, lines in sorted(by_category.items())}


def _digest(lines: Sequence[str]) -> str:
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{len(lines)} images {digest[:16]}"

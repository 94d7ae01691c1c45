"""Which good images are learned from, and which are held out."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model.dataset import GOOD, Dataset, Sample, Words, good_parts, read_dataset, split_good
from model.errors import DatasetError
from model.inspection import Category


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The good images: those learned from, and those held out to calibrate and to watch.

    Those in `watch` are kept apart from both, to be watched in the place of the held-out ones.
    `names` are what the data calls those categories that are called otherwise here.
    """

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    watch: tuple[Sample, ...] = ()
    names: Mapping[Category, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.train:
            raise DatasetError("no good images to train on: expected at least one")

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories trained on, in order of name."""
        return tuple(sorted({sample.category for sample in self.train}))

    def identity(self) -> dict[str, dict[Category, str]]:
        """Say which images of each category these are, wherever they lie."""
        found = {"train": digests(self.train), "held_out": digests(self.held_out)}
        return found | {"watch": digests(self.watch)} if self.watch else found

    @property
    def watched(self) -> tuple[Sample, ...]:
        """The good images whose loss is measured after each epoch."""
        return self.watch or self.held_out

    def keep_apart(self, fraction: float, seed: int) -> "TrainingData":
        """Take a share of each category's images out of training, to be watched.

        None where the fraction is 0, or where some are watched already.
        """
        if not fraction or self.watch:
            return self
        train, watch = split_good(self.train, fraction, seed)
        return replace(self, train=tuple(train), watch=tuple(watch))


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
    told: Callable[[Dataset], None] = lambda _dataset: None,
) -> TrainingData:
    """Find the good images below `root`, in any layout that is known, and hold some of them out.

    Held out are, of each category, the images in `held_out_dir`/<category>, or those that the
    data itself keeps apart (as in <category>/held_out/good), or else a share of those to train
    on; none with `folds`. Test images are never among them. `layout`, `local_root` and `words` are
    `read_dataset`'s; `told` hears of the data set that was read. Raises `DatasetError` for a
    category without good images, or `folds` where some are held out already.
    """
    dataset = read_dataset(root, categories, layout, local_root, words=words)
    told(dataset)
    train: list[Sample] = []
    held_out: list[Sample] = []
    for category in dataset.categories:
        good = [sample for sample in dataset.train if sample.category == category]
        if not good:
            raise DatasetError(
                f"no good images of {category!r} to train on in {root}, read as {dataset.layout}: "
                f"expected them in {root / category / 'train' / GOOD}, or as that layout has them"
            )
        apart = [sample for sample in dataset.held_out if sample.category == category]
        if held_out_dir is not None:
            apart = _kept_apart(held_out_dir, category, single=len(dataset.categories) == 1)
        if folds and apart:
            raise DatasetError(
                f"good images of {category!r} are held out already, such as {apart[0].path}: "
                "set thresholds from them, without folds, or let them be trained on, too"
            )
        if not apart and not folds:
            good, apart = split_good(good, held_out_fraction, seed)
        train += good
        held_out += apart
    return TrainingData(tuple(train), tuple(held_out), names=dataset.names)


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
    """Tell images apart, by category, from their names and sizes."""
    found: dict[Category, list[str]] = defaultdict(list)
    for sample in samples:
        found[sample.category].append(f"{sample.path.name} {sample.path.stat().st_size}\n")
    return {category: _digest(lines) for category, lines in sorted(found.items())}


def _digest(lines: Sequence[str]) -> str:
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{len(lines)} images {digest[:16]}"

"""The result of every reader: images with their labels and splits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from model.images.files import HARMLESS, Passed
from model.inspection import Category

GOOD = "good"
DEFECTIVE = "defective"
"""The defect of a defective image without a kind."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file with its label and mask.

    `defect` is "good" or the kind of defect. `mask` is None for good parts and unmarked defects; it
    may be a folder of masks, which are combined. A mask marks all pixels that are not black, or not
    of the colour `mask_background` if given.
    """

    path: Path
    category: Category
    defect: str
    mask: Path | None = None
    mask_background: tuple[int, int, int] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the part has no defect."""
        return self.defect == GOOD


@dataclass(frozen=True, slots=True)
class Dataset:
    """Good images for training, test images, and good images for calibration.

    `held_out` are the good images that the data itself reserves for calibration; if a category has
    none, some of `train` are held out later. `passed_over` are the skipped files with the reason.
    `names` are the original names of renamed categories (a space, an umlaut).
    """

    train: list[Sample]
    test: list[Sample]
    held_out: list[Sample] = field(default_factory=list)
    layout: str = "mvtec"
    passed_over: tuple[Passed, ...] = field(default=(), compare=False)
    names: Mapping[Category, str] = field(default_factory=dict)

    @property
    def samples(self) -> list[Sample]:
        """Every image, training images first."""
        return [*self.train, *self.held_out, *self.test]

    @property
    def splits(self) -> dict[str, list[Sample]]:
        """The images by split."""
        return {"train": self.train, "held_out": self.held_out, "test": self.test}

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories of the images, in order of name."""
        return tuple(sorted({sample.category for sample in self.samples}))

    def passed_over_by_reason(self) -> list[tuple[str, list[str], bool]]:
        """Return each reason with its files, and whether it is harmless."""
        reasons: dict[str, list[str]] = {}
        for passed in self.passed_over:
            reasons.setdefault(passed.reason, []).append(str(passed.path))
        entries = [(reason, sorted(files), reason in HARMLESS) for reason, files in reasons.items()]
        return sorted(entries, key=lambda entry: (entry[2], entry[0]))

    def of(self, categories: Iterable[Category]) -> "Dataset":
        """Return only the images of these categories."""
        wanted = frozenset(categories)
        parts = ([s for s in split if s.category in wanted] for split in self.splits.values())
        train, held_out, test = parts
        return replace(self, train=train, test=test, held_out=held_out)

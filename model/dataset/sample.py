"""What every reader of data returns: images, what they show, and what they are for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from model.images.files import HARMLESS, Passed
from model.inspection import Category

GOOD = "good"
DEFECTIVE = "defective"
"""The defect of an image that is called defective, and nothing more."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file: what it shows, and where its defect is marked.

    `defect` is "good" or the name of the kind of defect; `mask` is None for good parts and for
    defects that nobody marked, and may be a folder of masks whose union counts. A mask marks
    whatever is not black, or not of the colour `mask_background` where the layout names one.
    """

    path: Path
    category: Category
    defect: str
    mask: Path | None = None
    mask_background: tuple[int, int, int] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the part is without defect."""
        return self.defect == GOOD


@dataclass(frozen=True, slots=True)
class Dataset:
    """Good images to train on, test images that training may not see, good ones to calibrate with.

    `held_out` are the good images that the data itself keeps apart, for thresholds; where there
    are none of a category, some of `train` are held out. `layout` names what was recognised.
    `passed_over` are the files below the data's folder that are not read, and why; `names` are
    those categories' names in the data that are called otherwise here (a space, an umlaut).
    """

    train: list[Sample]
    test: list[Sample]
    held_out: list[Sample] = field(default_factory=list)
    layout: str = "mvtec"
    passed_over: tuple[Passed, ...] = field(default=(), compare=False)
    names: Mapping[Category, str] = field(default_factory=dict)

    @property
    def samples(self) -> list[Sample]:
        """Every image, those trained on first."""
        return [*self.train, *self.held_out, *self.test]

    @property
    def splits(self) -> dict[str, list[Sample]]:
        """The images by what they are for."""
        return {"train": self.train, "held_out": self.held_out, "test": self.test}

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories that there are images of, in order of name."""
        return tuple(sorted({sample.category for sample in self.samples}))

    def passed_over_by_reason(self) -> list[tuple[str, list[str], bool]]:
        """Return each reason with the files that it holds of, and whether it does no harm."""
        reasons: dict[str, list[str]] = {}
        for passed in self.passed_over:
            reasons.setdefault(passed.reason, []).append(str(passed.path))
        found = [(reason, sorted(files), reason in HARMLESS) for reason, files in reasons.items()]
        return sorted(found, key=lambda entry: (entry[2], entry[0]))

    def of(self, categories: Iterable[Category]) -> "Dataset":
        """Return the images of these categories alone."""
        kept = frozenset(categories)
        parts = ([s for s in split if s.category in kept] for split in self.splits.values())
        train, held_out, test = parts
        return replace(self, train=train, test=test, held_out=held_out)

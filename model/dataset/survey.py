"""Describe a data set and find its problems: counts, sizes, unreadable files, leaks, masks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.dataset.duplicates import Pair, exact_pairs, near_pairs
from model.dataset.facts import Facts, gather, readable
from model.dataset.sample import Dataset
from model.images.files import DANGLING
from model.inspection import Category

_ENOUGH_GOOD = 20
_NEARLY_ALL = 0.9
_TWELVE_BITS = 4095


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a data set; `spoils`: results are meaningless until it is fixed."""

    kind: str
    spoils: bool
    text: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CategorySurvey:
    """One category's images: counts by split, then by kind of defect; sizes and modes."""

    train: int
    held_out: int
    test_good: int
    defects: dict[str, int]
    masks: int
    sizes: dict[str, int]
    modes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Survey:
    """A data set's counts and problems; those that spoil results come first.

    `passed_over` are the skipped files by reason; `names` the original names of renamed categories.
    """

    layout: str
    categories: dict[Category, CategorySurvey]
    problems: list[Problem] = field(default_factory=list)
    passed_over: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names: dict[Category, str] = field(default_factory=dict)

    @property
    def spoiled(self) -> bool:
        """Whether results on this data would be meaningless."""
        return any(problem.spoils for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {**asdict(self), "spoiled": self.spoiled}


def survey(
    dataset: Dataset, root: Path, advance: Callable[[int], None] = lambda _images: None
) -> Survey:
    """Open every image and mask and describe them; file names are relative to `root`."""
    facts = gather(dataset, advance)
    by_category: dict[Category, list[Facts]] = defaultdict(list)
    for image in facts:
        by_category[image.sample.category].append(image)
    categories = {name: _describe(by_category[name]) for name in sorted(by_category)}
    problems = [
        *_missing(dataset),
        *_unreadable(facts, root),
        *_blank(facts, root),
        *_mask_problems(facts, root),
        *_repeated(facts, root),
    ]
    for name, group in sorted(by_category.items()):
        problems += _shortages(name, group)
        problems += _one_picture(name, readable(group), root)
        problems += _mixtures(name, readable(group), root)
    problems.sort(key=lambda problem: not problem.spoils)
    passed_over = {reason: tuple(files) for reason, files, _ in dataset.passed_over_by_reason()}
    return Survey(dataset.layout, categories, problems, passed_over, dict(dataset.names))


def _describe(facts: Sequence[Facts]) -> CategorySurvey:
    defective = [image for image in facts if not image.sample.is_good]
    sizes = Counter(f"{image.size[0]} x {image.size[1]}" for image in facts if image.size)
    return CategorySurvey(
        train=sum(image.split == "train" for image in facts),
        held_out=sum(image.split == "held_out" for image in facts),
        test_good=sum(image.split == "test" and image.sample.is_good for image in facts),
        defects=dict(sorted(Counter(image.sample.defect for image in defective).items())),
        masks=sum(image.sample.mask is not None for image in defective),
        sizes=dict(sizes.most_common()),
        modes=dict(Counter(image.mode for image in facts if image.mode).most_common()),
    )


def _missing(dataset: Dataset) -> Iterator[Problem]:
    """Skipped files that matter: missing images spoil results, the others are notes."""
    for reason, files, harmless in dataset.passed_over_by_reason():
        if not harmless:
            text = f"{len(files)} skipped: {reason}"
            yield Problem("passed over", reason == DANGLING, text, tuple(files))


def _unreadable(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    bad = [image for image in facts if image.error is not None]
    if bad:
        text = f"{len(bad)} images cannot be read: {bad[0].error}"
        yield Problem("unreadable", True, text, _names(bad, root))


def _blank(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    blank = [image for image in facts if image.is_blank]
    if blank:
        text = f"{len(blank)} images are blank (all pixels are equal): remove them"
        yield Problem("blank", True, text, _names(blank, root))


def _one_picture(name: Category, facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    good = [image for image in facts if image.split != "test"]
    if len(good) > 1 and len({image.digest for image in good}) == 1 and not good[0].is_blank:
        text = f"all {len(good)} good images of {name} to train on are the same picture"
        yield Problem("one picture", True, text, _names(good, root))


def _mask_problems(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    wrong = [image for image in facts if image.mask_error]
    if wrong:
        text = f"{len(wrong)} masks do not match: {wrong[0].mask_error}"
        yield Problem("mask", True, text, _names(wrong, root))
    empty = [image for image in facts if image.marked == 0]
    if empty:
        text = f"{len(empty)} masks of defective images mark nothing"
        yield Problem("empty mask", True, text, _names(empty, root))
    full = [image for image in facts if image.marked is not None and image.marked > _NEARLY_ALL]
    if full:
        text = f"{len(full)} masks mark more than {_NEARLY_ALL:.0%} of the image: inverted?"
        yield Problem("full mask", False, text, _names(full, root))


def _repeated(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    seen = readable(facts)
    exact = exact_pairs(seen)
    for kind, spoils, relation, pairs in (
        (
            "contradiction",
            True,
            "one is good and the other defective",
            [p for p in exact if p.contradicts],
        ),
        (
            "leak",
            True,
            "the two are in different splits",
            [p for p in exact if p.across and not p.contradicts],
        ),
        (
            "repeated",
            False,
            "both are in the same split",
            [p for p in exact if not p.across | p.contradicts],
        ),
    ):
        if pairs:
            text = f"{len(pairs)} images have the same pixels as another, and {relation}"
            yield Problem(kind, spoils, text, _pair_names(pairs, root))
    near, unclear = near_pairs(seen)
    if near:
        text = f"{len(near)} pairs of images in different splits look the same"
        yield Problem("near leak", True, text, _pair_names(near, root))
    if unclear:
        text = f"images are too similar to detect near duplicates: {', '.join(unclear)}"
        yield Problem("alike", False, text)


def _shortages(name: Category, facts: Sequence[Facts]) -> Iterator[Problem]:
    good = sum(image.split != "test" for image in readable(facts))
    tested = [image for image in facts if image.split == "test"]
    if good < 2:
        text = f"{name} has {good} good images for training: need at least 2"
        yield Problem("too few", True, text)
    elif good < _ENOUGH_GOOD:
        text = f"{name} has only {good} good images for training and calibration: more are better"
        yield Problem("few", False, text)
    kinds = {image.sample.is_good for image in tested}
    if len(kinds) == 1:
        missing = "defective" if True in kinds else "good"
        yield Problem("one-sided test", False, f"{name} has no {missing} test images")
    defective = [image for image in tested if not image.sample.is_good]
    bare = sum(image.sample.mask is None for image in defective)
    if 0 < bare < len(defective):
        text = f"{name} has {bare} of {len(defective)} defective images without a mask"
        yield Problem("no mask", False, text)


def _mixtures(name: Category, facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    modes = sorted({str(image.mode) for image in facts})
    if len(modes) > 1:
        yield Problem("modes", False, f"{name} mixes the modes {', '.join(modes)}")
    shapes = {round(image.size[0] / image.size[1], 2) for image in facts if image.size}
    if len(shapes) > 1:
        text = f"{name} mixes {len(shapes)} aspect ratios: --resize letterbox preserves them"
        yield Problem("shapes", False, text)
    deep = [image for image in facts if image.levels is not None]
    if deep and max(image.levels or 0 for image in deep) <= _TWELVE_BITS:
        text = (
            f"{name} has 16-bit images that use no more than {_TWELVE_BITS + 1} levels: "
            "train with --grey-bits 12 (or 10), otherwise they are nearly black"
        )
        yield Problem("dark", True, text, _names(deep, root))


def _names(facts: Sequence[Facts], root: Path) -> tuple[str, ...]:
    return tuple(_below(image.sample.path, root) for image in facts)


def _pair_names(pairs: Sequence[Pair], root: Path) -> tuple[str, ...]:
    return tuple(" = ".join(_names((pair.first, pair.second), root)) for pair in pairs)


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

"""What a data set is and what is wrong with it: counts, sizes, unreadable files, leaks, masks."""

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
    """Something to put right; `spoils` says whether results mean nothing before it is."""

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
    """Everything found; `problems` are sorted, those that spoil results first.

    `passed_over` are the files below the data's folder that are not read, by the reason; `names`
    what the data calls those categories that are called otherwise here.
    """

    layout: str
    categories: dict[Category, CategorySurvey]
    problems: list[Problem] = field(default_factory=list)
    passed_over: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names: dict[Category, str] = field(default_factory=dict)

    @property
    def spoiled(self) -> bool:
        """Whether results on this data would mean nothing."""
        return any(problem.spoils for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {**asdict(self), "spoiled": self.spoiled}


def survey(
    dataset: Dataset, root: Path, advance: Callable[[int], None] = lambda _images: None
) -> Survey:
    """Open every image and mask, and say what was found; paths are told from `root`."""
    facts = gather(dataset, advance)
    by_category: dict[Category, list[Facts]] = defaultdict(list)
    for one in facts:
        by_category[one.sample.category].append(one)
    categories = {name: _describe(by_category[name]) for name in sorted(by_category)}
    problems = [
        *_missing(dataset),
        *_unreadable(facts, root),
        *_blank(facts, root),
        *_mask_problems(facts, root),
        *_repeated(facts, root),
    ]
    for name, own in sorted(by_category.items()):
        problems += _shortages(name, own)
        problems += _one_picture(name, readable(own), root)
        problems += _mixtures(name, readable(own), root)
    problems.sort(key=lambda problem: not problem.spoils)
    passed_over = {reason: tuple(files) for reason, files, _ in dataset.passed_over_by_reason()}
    return Survey(dataset.layout, categories, problems, passed_over, dict(dataset.names))


def _describe(facts: Sequence[Facts]) -> CategorySurvey:
    defective = [one for one in facts if not one.sample.is_good]
    sizes = Counter(f"{one.size[0]} x {one.size[1]}" for one in facts if one.size)
    return CategorySurvey(
        train=sum(one.split == "train" for one in facts),
        held_out=sum(one.split == "held_out" for one in facts),
        test_good=sum(one.split == "test" and one.sample.is_good for one in facts),
        defects=dict(sorted(Counter(one.sample.defect for one in defective).items())),
        masks=sum(one.sample.mask is not None for one in defective),
        sizes=dict(sizes.most_common()),
        modes=dict(Counter(one.mode for one in facts if one.mode).most_common()),
    )


def _missing(dataset: Dataset) -> Iterator[Problem]:
    """Files that were meant to be read: missing images spoil results, the rest is to be known."""
    for reason, files, harmless in dataset.passed_over_by_reason():
        if not harmless:
            text = f"{len(files)} passed over: {reason}"
            yield Problem("passed over", reason == DANGLING, text, tuple(files))


def _unreadable(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    bad = [one for one in facts if one.error is not None]
    if bad:
        text = f"{len(bad)} images cannot be read: {bad[0].error}"
        yield Problem("unreadable", True, text, _names(bad, root))


def _blank(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    blank = [one for one in facts if one.is_blank]
    if blank:
        text = f"{len(blank)} images show nothing: every pixel is alike, so take them out"
        yield Problem("blank", True, text, _names(blank, root))


def _one_picture(name: Category, facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    good = [one for one in facts if one.split != "test"]
    if len(good) > 1 and len({one.digest for one in good}) == 1 and not good[0].is_blank:
        text = f"all {len(good)} good images of {name} to train on are the same picture"
        yield Problem("one picture", True, text, _names(good, root))


def _mask_problems(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    wrong = [one for one in facts if one.mask_error]
    if wrong:
        text = f"{len(wrong)} masks do not match: {wrong[0].mask_error}"
        yield Problem("mask", True, text, _names(wrong, root))
    empty = [one for one in facts if one.marked == 0]
    if empty:
        text = f"{len(empty)} masks of defective images mark nothing"
        yield Problem("empty mask", True, text, _names(empty, root))
    full = [one for one in facts if one.marked is not None and one.marked > _NEARLY_ALL]
    if full:
        text = f"{len(full)} masks mark more than {_NEARLY_ALL:.0%} of the image: inverted?"
        yield Problem("full mask", False, text, _names(full, root))


def _repeated(facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    seen = readable(facts)
    exact = exact_pairs(seen)
    for kind, spoils, says, pairs in (
        ("contradiction", True, "good and defective at once", [p for p in exact if p.contradicts]),
        (
            "leak",
            True,
            "trained on (or held out) and tested with, or trained on and held out",
            [p for p in exact if p.across and not p.contradicts],
        ),
        ("repeated", False, "there twice", [p for p in exact if not p.across | p.contradicts]),
    ):
        if pairs:
            text = f"{len(pairs)} images are the same as another, and {says}"
            yield Problem(kind, spoils, text, _pair_names(pairs, root))
    near, unclear = near_pairs(seen)
    if near:
        text = f"{len(near)} pairs of images in different splits look the same"
        yield Problem("near leak", True, text, _pair_names(near, root))
    if unclear:
        text = f"too alike to tell near-duplicates from other parts: {', '.join(unclear)}"
        yield Problem("alike", False, text)


def _shortages(name: Category, facts: Sequence[Facts]) -> Iterator[Problem]:
    good = sum(one.split != "test" for one in readable(facts))
    tested = [one for one in facts if one.split == "test"]
    if good < 2:
        text = f"{name} has {good} good images to train on: two are the least"
        yield Problem("too few", True, text)
    elif good < _ENOUGH_GOOD:
        text = f"{name} has {good} good images to train on and calibrate with: more are better"
        yield Problem("few", False, text)
    kinds = {one.sample.is_good for one in tested}
    if len(kinds) == 1:
        missing = "defective" if True in kinds else "good"
        yield Problem("one-sided test", False, f"{name} has no {missing} test images")
    defective = [one for one in tested if not one.sample.is_good]
    bare = sum(one.sample.mask is None for one in defective)
    if 0 < bare < len(defective):
        text = f"{name} has {bare} of {len(defective)} defective images without a mask"
        yield Problem("no mask", False, text)


def _mixtures(name: Category, facts: Sequence[Facts], root: Path) -> Iterator[Problem]:
    modes = sorted({str(one.mode) for one in facts})
    if len(modes) > 1:
        yield Problem("modes", False, f"{name} mixes the modes {', '.join(modes)}")
    shapes = {round(one.size[0] / one.size[1], 2) for one in facts if one.size}
    if len(shapes) > 1:
        text = f"{name} mixes {len(shapes)} aspect ratios: --resize letterbox keeps each"
        yield Problem("shapes", False, text)
    deep = [one for one in facts if one.levels is not None]
    if deep and max(one.levels or 0 for one in deep) <= _TWELVE_BITS:
        text = (
            f"{name} has 16-bit images that use no more than {_TWELVE_BITS + 1} levels: "
            "train with --grey-bits 12 (or 10), or they are nearly black"
        )
        yield Problem("dark", True, text, _names(deep, root))


def _names(facts: Sequence[Facts], root: Path) -> tuple[str, ...]:
    return tuple(_below(one.sample.path, root) for one in facts)


def _pair_names(pairs: Sequence[Pair], root: Path) -> tuple[str, ...]:
    return tuple(" = ".join(_names((pair.first, pair.second), root)) for pair in pairs)


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

"""Random data sets in random layouts and words are read as they were written."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.dataset import read_dataset, read_mask
from model.images.decoding import open_image
from model.images.files import HARMLESS
from model.images.preprocess import upright
from model.words import DEFECTIVE_WORDS, GOOD_WORDS, SPLIT_WORDS

GOOD, BAD = st.sampled_from(GOOD_WORDS), st.sampled_from(DEFECTIVE_WORDS)
CASES = st.sampled_from([str, str.lower, str.upper, str.title, lambda w: w.replace(" ", "_")])
CATEGORIES = st.lists(
    st.sampled_from(["bolt", "nut M4", "Gehäuse", "电池", "01", "metal_nut", "x" * 90, "CON"]),
    max_size=3,
    unique=True,
)
KINDS = st.lists(
    st.sampled_from(["scratch", "7", "broken_large", "Delle", "parts_mismatch", "划痕"]),
    max_size=2,
    unique=True,
)
ENDINGS = st.sampled_from([".png", ".PNG", ".jpg", ".JPEG", ".jfif", ".bmp", ".tif", ".TIFF",
                           ".webp", ".pgm", ".ppm"])  # fmt: skip
FORMATS = {".jfif": "JPEG", ".pgm": "PPM", ".ppm": "PPM"}
ORDERS = st.sampled_from(["category/split/label", "split/category/label", "label/split/category"])
DATES = st.sampled_from(["", "2026-11-03", "20261104"])
JUNK = (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png", "notes.txt", "@eaDir/000.png")


@dataclass
class Written:
    """A data set on disk, and the use of each of its images."""

    root: Path
    train: set[Path] = field(default_factory=set)
    held_out: set[Path] = field(default_factory=set)
    good: set[Path] = field(default_factory=set)
    defective: dict[Path, Path | None] = field(default_factory=dict)
    category: dict[Path, str] = field(default_factory=dict)
    given: list[str] | None = None


def write(path: Path, draw: Any, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lossy = path.suffix.lower() in {".jpg", ".jpeg", ".jfif", ".webp", ".pgm", ".ppm"}
    mode = mode or draw(st.sampled_from(["L", "RGB"] if lossy else ["L", "RGB", "P", "1"]))
    size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    image = Image.new(mode, size, 1)
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 200, 200])
    image.save(path, FORMATS.get(path.suffix.lower()))
    return path


def images(folder: Path, draw: Any, least: int = 1) -> list[Path]:
    inner = folder / draw(DATES)
    count = draw(st.integers(least, least + 1))
    return [write(inner / f"{n:03}{draw(ENDINGS)}", draw) for n in range(count)]


def styled(draw: Any, words: Any) -> str:
    return str(draw(CASES)(draw(words)))


@st.composite
def plain_trees(draw: Any) -> Written:
    """[<category>/]<good>/, [<category>/]<bad>/[<kind>/]."""
    written = Written(Path(tempfile.mkdtemp(), "line"))
    for category in draw(CATEGORIES) or [""]:
        folder = written.root / category
        good = images(folder / styled(draw, GOOD), draw, 2)
        bad = folder / styled(draw, BAD)
        defective = [p for kind in draw(KINDS) or [""] for p in images(bad / kind, draw)]
        written.good |= set(good)
        written.defective |= dict.fromkeys(defective)
        written.category |= dict.fromkeys([*good, *defective], category or "line")
    return written


@st.composite
def split_trees(draw: Any) -> Written:
    """Splits, labels and categories in random order; masks in folders of their own."""
    written = Written(Path(tempfile.mkdtemp(), "line"))
    categories = draw(CATEGORIES)
    order = draw(ORDERS) if categories else draw(st.sampled_from(["split/label", "label/split"]))
    words = {split: styled(draw, st.sampled_from(w)) for split, w in SPLIT_WORDS.items()}
    if order.endswith("category"):  # unnamed batches could be categories as well
        written.given = categories
    good, bad = styled(draw, GOOD), styled(draw, BAD)
    truth = draw(st.sampled_from(["ground_truth", "Ground Truth", "MASKS", "gt"]))
    with_masks = order.endswith("split/label") and draw(st.booleans())

    def place(split: str, label: str, category: str) -> Path:
        names = {"split": words[split], "label": label, "category": category}
        return written.root.joinpath(*(names[role] for role in order.split("/")))

    for category in categories or [""]:
        written.train |= set(images(place("train", good, category), draw, 2))
        written.good |= set(images(place("test", good, category), draw))
        if draw(st.booleans()):
            written.held_out |= set(images(place("held_out", good, category), draw))
        splits = draw(st.sampled_from([["test"], ["test", "train"], ["test", "held_out"]]))
        kind = draw(st.sampled_from(["", "scratch", "7"])) if order.endswith("label") else ""
        for split in splits:
            for path in images(place(split, bad, category) / kind, draw):
                mask = None
                if with_masks and split == "test" and draw(st.booleans()):
                    below = path.relative_to(place("test", bad, category)).parent
                    base = written.root / category / truth / bad / below
                    mask = base / f"{path.stem}{draw(st.sampled_from(['', '_mask', '_gt']))}.png"
                    mask.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("L", open_image(path).size, 255).save(mask)
                written.defective[path] = mask
    return written


def check(written: Written, draw_junk: list[str]) -> None:
    some = next(iter(written.good)).parent
    for name in draw_junk:
        (some / name).parent.mkdir(exist_ok=True)
        (some / name).write_bytes(b"x")
    dataset = read_dataset(written.root, written.given)
    tested = {s.path for s in dataset.test if s.is_good}
    defective = {s.path: s.mask for s in dataset.test if not s.is_good}
    assert defective == written.defective
    assert {s.path for s in dataset.held_out} == written.held_out
    if written.train:
        assert ({s.path for s in dataset.train}, tested) == (written.train, written.good)
    else:
        assert {s.path for s in dataset.train} | tested == written.good
        assert not {s.path for s in dataset.train} & tested
    assert len(dataset.samples) == len({s.path for s in dataset.samples})
    assert all(s.is_good for s in (*dataset.train, *dataset.held_out))
    for sample in dataset.samples:
        upright(open_image(sample.path))
        name = dataset.names.get(sample.category, sample.category)
        assert written.category.get(sample.path, name) == name
        if sample.mask is not None:
            assert read_mask(sample, (4, 4)).all()
    assert {passed.reason for passed in dataset.passed_over} <= HARMLESS


RULES = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@RULES
@given(plain_trees(), st.lists(st.sampled_from(JUNK), unique=True))
def test_plain_folders_are_read_as_they_were_written(written, junk):
    try:
        check(written, junk)
    finally:
        shutil.rmtree(written.root.parent)


@RULES
@given(split_trees(), st.lists(st.sampled_from(JUNK), unique=True))
def test_trees_with_splits_are_read_as_they_were_written(written, junk):
    try:
        check(written, junk)
    finally:
        shutil.rmtree(written.root.parent)

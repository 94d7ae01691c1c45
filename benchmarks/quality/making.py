"""Write a set's images and masks in MVTec layout."""

import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice, product
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.sets import QualitySet, Role, Source
from benchmarks.quality.surfaces import (
    Colours,
    Window,
    areas,
    draw_window,
    light,
    look,
    photograph,
    plate,
)
from demo.solar import Cell, data_folder, read_labels, read_split
from demo.splits import draw_grouped
from model.errors import DatasetError
from model.inspection import Category
from model.synthetic import Drawn, Kind, Size, Strength, draw

VERSION = 1
"""Raise this with each change of the images, so that older results are measured again."""

_OTHERS = 50
"""Further images tried for a defect that the first image does not show."""


def make(a_set: QualitySet, seed: int, root: Path) -> None:
    """Write the images of a set to an empty folder; the seed determines all of them."""
    if root.exists():
        shutil.rmtree(root)
    for number, category in enumerate(a_set.categories):
        if a_set.source in (Source.CELLS, Source.GROUPED):
            _copy_cells(a_set, category, seed, root / category)
        else:
            _cut(a_set, category, (seed, number), root / category)


def _cut(a_set: QualitySet, category: Category, seed: tuple[int, int], root: Path) -> None:
    """Write windows of a photograph, with defects drawn into some of the test images."""
    picture = photograph(category)
    rng = np.random.default_rng((*category.encode(), *seed))
    good, defective = a_set.tested
    windows = {
        split: [_window(a_set, picture, split, rng) for _ in range(count)]
        for split, count in (("train", a_set.good), ("test", good + defective))
    }
    check_apart(windows["train"], windows["test"])
    for number, window in enumerate(windows["train"]):
        _save(_image(a_set, picture, window, rng), root / "train/good" / f"{number:03}.png")
    images = [_image(a_set, picture, window, rng) for window in windows["test"]]
    for number, image in enumerate(images[:good]):
        _save(image, root / "test/good" / f"{number:03}.png")
    for number, (kind, strength) in enumerate(defects(defective)):
        seen = chain([images[good + number]], _others(a_set, picture, (*seed, number)))
        drawn = draw_on_first(seen, kind, strength, (*seed, number), a_set.size)
        _save_defect(drawn, root, f"{kind}-{strength}", number)


def _others(a_set: QualitySet, picture: Colours, seed: tuple[int, int, int]) -> Iterator[Colours]:
    """Yield further test images, from a generator of their own: the next ones stay the same."""
    rng = np.random.default_rng((*picture.shape, *seed))
    for _ in range(_OTHERS):
        yield _image(a_set, picture, _window(a_set, picture, "test", rng), rng)


def draw_on_first(
    images: Iterable[Colours], kind: Kind, strength: Strength, seed: Sequence[int], size: Size
) -> Drawn:
    """Draw a defect on the first image that shows it: a smear does not change a blank one."""
    reason = DatasetError("no image")
    for image in images:
        try:
            return draw(image, kind, strength, seed, size)
        except DatasetError as error:
            reason = error
    raise reason


def defects(count: int) -> Iterator[tuple[Kind, Strength]]:
    """Yield kinds and strengths in turn, so that each appears as often as any other."""
    return islice(cycle(product(Kind, Strength)), count)


def check_apart(train: Sequence[Window], test: Sequence[Window]) -> None:
    """Assert that no pixel of the photograph is read for training and for testing."""
    last = max(window.rows[1] for window in train)
    first = min(window.rows[0] for window in test)
    assert np.ceil(last) < np.floor(first), (last, first)


def _window(a_set: QualitySet, picture: Colours, split: str, rng: np.random.Generator) -> Window:
    height, width = picture.shape[:2]
    wide, turned = a_set.shape[1] > a_set.shape[0], a_set.source is Source.TURNED
    return draw_window(areas(height)[split], width, wide, turned, rng)


def _image(
    a_set: QualitySet, picture: Colours, window: Window, rng: np.random.Generator
) -> Colours:
    surface = look(picture, window, a_set.shape)
    return light(plate(surface, rng) if a_set.source is Source.PLATE else surface, rng)


def _save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def _save_defect(drawn: Drawn, root: Path, folder: str, number: int) -> None:
    _save(drawn.image, root / "test" / folder / f"{number:03}.png")
    mask = drawn.mask.astype(np.uint8) * 255
    _save(mask, root / "ground_truth" / folder / f"{number:03}_mask.png")


def _copy_cells(a_set: QualitySet, category: Category, seed: int, root: Path) -> None:
    cells = [cell for cell in choose_cells(a_set, seed) if cell.category == category]
    source = data_folder()
    good, defective = a_set.tested
    for folder, chosen, count in (
        ("train/good", [c for c in cells if c.split == "train"], a_set.good),
        ("test/good", [c for c in cells if c.split == "test" and c.is_good], good),
        ("test/defective", [c for c in cells if c.split == "test" and not c.is_good], defective),
    ):
        random.Random(f"{seed}/{category}/{folder}").shuffle(chosen)
        (root / folder).mkdir(parents=True)
        for cell in chosen[:count]:
            shutil.copyfile(source / cell.file, root / folder / Path(cell.file).name)


def choose_cells(a_set: QualitySet, seed: int) -> list[Cell]:
    """Return cells for training and testing; only certainly defective ones are tested.

    Development sets are tested with the development cells of `demo.solar`, final ones with its test
    cells. In grouped sets, each of those is tested that is not from a run of a training cell.
    """
    committed = read_split()
    if a_set.role is Role.DEVELOPMENT:
        names = {"train": "train", "held_out": "test"}
        defective = "development"
    else:
        names = {"train": "train", "test": "test"}
        defective = "test"
    chosen = {
        cell.file: names[cell.split] if cell.is_good else "test"
        for cell in committed
        if (cell.is_good and cell.split in names)
        or (cell.probability == "1.0000" and cell.split == defective)
    }
    cells = committed
    if a_set.source is Source.GROUPED:
        cells = draw_grouped(read_labels(data_folder()), seed)
        trained = {c.file: "train" for c in cells if c.split == "train" and c.is_good}
        tested = {c.file for c in cells if c.split == "test"}
        chosen = {f: s for f, s in chosen.items() if s == "test" and f in tested} | trained
    return [
        Cell(cell.file, cell.category, cell.probability, chosen[cell.file])
        for cell in cells
        if cell.file in chosen
    ]

"""Solar cells for the demonstration: the fixed split, and the folders for `mambaad train`.

The images are the ELPV dataset (CC BY-NC-SA 4.0), installed as the package `elpv-dataset`; its
`labels.csv` names each cell's type (mono or poly) and the probability that the cell is defective.

train        good cells for training
held_out     good cells that set the thresholds, and were the good cells for choosing the recipe
test         good cells and certainly defective ones (probability 1); no choice depends on them
development  a quarter of the certainly defective cells, and every uncertain one (1/3 or 2/3), for
             choosing the recipe

    python -m demo.solar prepare data/solar                 # for training and reporting
    python -m demo.solar prepare data/solar-dev --development   # its test/ has no test image
    python -m demo.solar split demo/solar_split.csv         # draws the committed split
"""

import csv
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

SPLIT_FILE = Path(__file__).with_name("solar_split.csv")
SEED = 20261123
TEST_SHARE = 0.25
DEVELOPMENT_SEED = 7
DEVELOPMENT_SHARE = 4
"""One in this many certainly defective cells is for development."""
HELD_OUT = 110
"""Held-out good cells of each type; a guarantee of 1 % needs at least 99."""

DEFECT_FOLDERS = {"0.3333": "possibly_defective", "0.6667": "probably_defective"}

app = typer.Typer(
    help="Solar cells for the demonstration, from the package elpv-dataset (CC BY-NC-SA 4.0).",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the split: `probability` is the text of the defect probability, 4 decimals."""

    file: str
    category: str
    probability: str
    split: str

    @property
    def is_good(self) -> bool:
        """Return whether the cell was judged free of defects."""
        return float(self.probability) == 0


def data_folder() -> Path:
    """Return the folder of the installed `elpv-dataset` that contains `labels.csv`."""
    spec = find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise typer.BadParameter("elpv-dataset is not installed: pip install elpv-dataset")
    return Path(spec.submodule_search_locations[0]) / "data"


def read_labels(folder: Path) -> list[Cell]:
    """Read all labelled cells in the file's order, without a split."""
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    return [Cell(path, f"solar-{kind}", f"{float(p):.4f}", "") for path, p, kind in rows]


def draw_split(cells: Iterable[Cell], seed: int = SEED) -> list[Cell]:
    """Assign every cell to a split, at random within its category."""
    cells = sorted(cells, key=lambda cell: cell.file)
    names: dict[str, str] = {}
    for category in sorted({cell.category for cell in cells}):
        good = [cell.file for cell in cells if cell.category == category and cell.is_good]
        random.Random(f"{seed}/{category}").shuffle(good)
        test = round(TEST_SHARE * len(good))
        names |= dict.fromkeys(good, "train") | dict.fromkeys(good[:test], "test")
        names |= dict.fromkeys(good[test : test + HELD_OUT], "held_out")
        names |= _split_defective([c for c in cells if c.category == category and not c.is_good])
    return [Cell(c.file, c.category, c.probability, names[c.file]) for c in cells]


def _split_defective(cells: Sequence[Cell]) -> dict[str, str]:
    """Assign defective cells: certain ones to test, except one in `DEVELOPMENT_SHARE`."""
    certain = [cell.file for cell in cells if float(cell.probability) == 1]
    random.Random(DEVELOPMENT_SEED).shuffle(certain)
    tested = certain[len(certain) // DEVELOPMENT_SHARE :]
    return dict.fromkeys((c.file for c in cells), "development") | dict.fromkeys(tested, "test")


def write_split(cells: Sequence[Cell], path: Path) -> None:
    """Write a split as CSV, one cell a line."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Cell)])
        writer.writerows(astuple(cell) for cell in cells)


def read_split(path: Path = SPLIT_FILE) -> list[Cell]:
    """Read a split written by `write_split`."""
    with path.open(newline="") as file:
        return [Cell(**row) for row in csv.DictReader(file)]


def places(cell: Cell, development: bool) -> list[str]:
    """Return the folders of a cell, below its category's; empty if it is left out."""
    if cell.split in {"train", "held_out"}:
        folders = [f"{cell.split}/good"]
        if development and cell.split == "held_out":
            folders.append("test/good")
        return folders
    if (cell.split == "development") != development:
        return []
    if cell.is_good:
        return ["test/good"]
    return [f"test/{DEFECT_FOLDERS.get(cell.probability, 'defective')}"]


@app.command()
def split(path: Path = SPLIT_FILE) -> None:
    """Draw the split again, from the labels and the fixed seed, and write it to PATH."""
    cells = draw_split(read_labels(data_folder()))
    write_split(cells, path)
    for (category, name), count in sorted(Counter((c.category, c.split) for c in cells).items()):
        print(f"{category:12} {name:12} {count:5}")


def plan_copies(
    root: Path, cells: Iterable[Cell], source: Path, development: bool
) -> dict[Path, Path]:
    """Map every file to write below `root` to its source image."""
    return {
        root / cell.category / folder / Path(cell.file).name: source / cell.file
        for cell in cells
        for folder in places(cell, development)
    }


@app.command()
def prepare(
    root: Path,
    development: Annotated[
        bool, typer.Option(help="Fill test/ from held-out good and development cells instead.")
    ] = False,
    split_file: Annotated[
        Path,
        typer.Option(
            "--split", metavar="FILE", help="Use this split instead of the committed one."
        ),
    ] = SPLIT_FILE,
) -> None:
    """Copy the cells into MVTec layout, ROOT/<category>/{train,held_out,test}/<kind>/."""
    copies = plan_copies(root, read_split(split_file), data_folder(), development)
    strays = sorted(path for path in root.rglob("*") if path.is_file() and path not in copies)
    if strays:
        # A test image left in train/ by another split would falsify every figure.
        raise typer.BadParameter(
            f"{root} has {len(strays)} file(s) that are not in this split, e.g. {strays[0]}; "
            "expected an empty folder, or one with this split"
        )
    for target, image in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    print(f"{len(copies)} images in {root}")


if __name__ == "__main__":
    app()

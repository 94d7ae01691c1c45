"""Makes small data sets in MVTec layout: photographs with drawn defects and their masks.

Data sets with masks can rarely be redistributed; these can be made anywhere:

    python -m demo.drawn textures data/drawn-textures   # brick, grass, gravel (scikit-image, CC0)
    python -m demo.drawn cells data/drawn-cells         # good solar cells (elpv-dataset)

Textures are cut from photographs of 512 x 512 pixels: training images from the upper part, test
images from the lower. Cells keep the split of `demo.solar`, good ones only; half of the test ones
get a defect. The seed fixes every image.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFilter
from rich.progress import track
from scipy import ndimage

from demo.solar import data_folder, read_split
from model.images.decoding import open_image

SEED = 20261123
TEXTURES = ("brick", "grass", "gravel")
SIDE = 160
"""Side of a cut-out in pixels."""
TRAIN_ROWS = 352
COUNTS = {"train": 60, "held_out": 30, "test": 40}
_VISIBLE = 0.02
"""A pixel, 0 to 1, belongs to the mask if it changed by more than this."""
_OVERSAMPLING = 4

Grey = Float32[np.ndarray, "H W"]
app = typer.Typer(
    help="Data sets with drawn defects and masks, in MVTec layout.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image with a defect, 0 to 1, and the mask of changed pixels."""

    image: Grey
    mask: np.ndarray


def crack(image: Grey, rng: np.random.Generator) -> Grey:
    """Draw a wandering dark line, one or two pixels wide."""
    height, width = image.shape
    at = rng.uniform(0.2, 0.8, 2) * (width, height)
    heading = rng.uniform(0, 2 * np.pi)
    points = [tuple(at)]
    for _ in range(int(rng.integers(10, 25))):
        heading += rng.normal(0, 0.5)
        at = at + 0.03 * width * np.array([np.cos(heading), np.sin(heading)])
        points.append(tuple(at))
    line = _line(image.shape, points, rng.uniform(1.2, 2.4))
    return image * (1 - line * rng.uniform(0.5, 0.8))


def scratch(image: Grey, rng: np.random.Generator) -> Grey:
    """Draw a straight bright line."""
    height, width = image.shape
    start = rng.uniform(0.15, 0.85, 2) * (width, height)
    turn, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.4) * width
    end = start + length * np.array([np.cos(turn), np.sin(turn)])
    line = _line(image.shape, [tuple(start), tuple(end)], rng.uniform(1.2, 2.6))
    return image + (1 - image) * line * rng.uniform(0.4, 0.8)


def spot(image: Grey, rng: np.random.Generator) -> Grey:
    """Darken or brighten a soft ellipse."""
    height, width = image.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    row, column = rng.uniform(0.15, 0.85, 2) * (height, width)
    radii = rng.uniform(0.03, 0.1, 2) * width
    distance = np.hypot((rows - row) / radii[0], (columns - column) / radii[1])
    weight = np.clip(1.5 - distance, 0, 1) * rng.uniform(0.4, 0.8)
    target = 0.0 if rng.random() < 0.7 else 1.0
    return image + (target - image) * weight.astype(np.float32)


def patch(image: Grey, rng: np.random.Generator) -> Grey:
    """Copy a piece of the image, turned over and darkened, to another place."""
    height, width = image.shape
    h, w = (int(x) for x in rng.uniform(0.08, 0.2, 2) * (height, width))
    sources = rng.uniform(0, 1, 2) * (height - h, width - w)
    targets = rng.uniform(0.1, 0.9, 2) * (height - h, width - w)
    (sr, sc), (tr, tc) = (map(int, pair) for pair in (sources, targets))
    piece = image[sr : sr + h, sc : sc + w][::-1, ::-1] * rng.uniform(0.4, 0.75)
    drawn = image.copy()
    drawn[tr : tr + h, tc : tc + w] = piece
    return drawn


DEFECTS: dict[str, Callable[[Grey, np.random.Generator], Grey]] = {
    "crack": crack,
    "scratch": scratch,
    "spot": spot,
    "patch": patch,
}


def draw(image: Grey, kind: str, rng: np.random.Generator) -> Drawn:
    """Draw a defect and mask the changed pixels; repeats until the defect is visible."""
    while True:
        changed = np.clip(DEFECTS[kind](image, rng), 0, 1)
        visible = np.abs(changed - image) > _VISIBLE
        mask = visible | ndimage.binary_closing(visible, iterations=3)  # no pinholes
        if mask.sum() >= 8:
            return Drawn(changed, mask)


def _line(shape: tuple[int, int], points: Sequence[tuple[float, float]], width: float) -> Grey:
    """Return the share of each pixel covered by a soft line through `points` (column, row)."""
    scale = _OVERSAMPLING
    canvas = Image.new("L", (shape[1] * scale, shape[0] * scale))
    scaled = [(scale * x, scale * y) for x, y in points]
    ImageDraw.Draw(canvas).line(scaled, fill=255, width=round(scale * width), joint="curve")
    soft = canvas.filter(ImageFilter.GaussianBlur(scale / 2)).resize(
        (shape[1], shape[0]), Image.Resampling.BOX
    )
    return np.asarray(soft, np.float32) / 255


def _save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(np.asarray(values, np.float32) * 255).astype(np.uint8)).save(path)


def _save_tested(root: Path, number: int, image: Grey, rng: np.random.Generator) -> None:
    """Save a test image: even numbers unchanged, odd ones with a defect, kinds in turn."""
    if number % 2 == 0:
        _save(image, root / "test" / "good" / f"{number:03}.png")
        return
    kind = list(DEFECTS)[number // 2 % len(DEFECTS)]
    drawn = draw(image, kind, rng)
    _save(drawn.image, root / "test" / kind / f"{number:03}.png")
    _save(drawn.mask, root / "ground_truth" / kind / f"{number:03}_mask.png")


def _fresh(root: Path) -> None:
    if root.exists() and any(root.iterdir()):
        raise typer.BadParameter(f"{root} is not empty; expected a new or empty folder")


Root = Annotated[Path, typer.Argument(help="The folder to make.")]


@app.command()
def textures(root: Root) -> None:
    """Cut brick, grass and gravel into ROOT/<texture>/, with defects drawn on half of test/."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise typer.BadParameter("scikit-image is not installed: pip install scikit-image")
    photographs = Path(spec.submodule_search_locations[0]) / "data"
    _fresh(root)
    for texture in TEXTURES:
        opened = open_image(photographs / f"{texture}.png")
        photograph = np.asarray(opened.convert("L"), np.float32) / 255
        _cut(photograph, root / texture, np.random.default_rng([SEED, *texture.encode()]))
    print(f"{len(TEXTURES)} textures in {root}")


def _cut(photograph: Grey, root: Path, rng: np.random.Generator) -> None:
    upper, lower = photograph[:TRAIN_ROWS], photograph[TRAIN_ROWS:]
    for split, count in COUNTS.items():
        source = lower if split == "test" else upper
        for number in range(count):
            row = int(rng.integers(0, source.shape[0] - SIDE + 1))
            column = int(rng.integers(0, source.shape[1] - SIDE + 1))
            image = source[row : row + SIDE, column : column + SIDE]
            if split == "test":
                _save_tested(root, number, image, rng)
            else:
                _save(image, root / split / "good" / f"{number:03}.png")


@app.command()
def cells(root: Root) -> None:
    """Copy good solar cells into ROOT/<type>/, with defects drawn on half of test/."""
    _fresh(root)
    source, numbers = data_folder(), {"solar-mono": 0, "solar-poly": 0}
    good = [cell for cell in read_split() if cell.is_good]
    for cell in track(good, description="drawing"):
        folder, path = root / cell.category, source / cell.file
        if cell.split != "test":
            target = folder / cell.split / "good" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            continue
        number = numbers[cell.category]
        numbers[cell.category] += 1
        image = np.asarray(open_image(path).convert("L"), np.float32) / 255
        rng = np.random.default_rng([SEED, *cell.category.encode(), number])
        _save_tested(folder, number, image, rng)
    print(f"{len(good)} cells in {root}")


if __name__ == "__main__":
    app()

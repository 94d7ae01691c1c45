"""Photographs of scikit-image, and windows in them that never overlap between training and test.

Brick, grass and gravel are CC0; `ihc` (stained tissue) and `moon` are in the public domain. The
package contains them, so nothing is downloaded. Training windows lie above `TRAIN_ROWS`, test
windows below it and a gap, at any angle.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import typer
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from scipy import ndimage

from model.images.decoding import open_image

PHOTOGRAPHS = ("brick", "grass", "gravel", "ihc", "moon")
TRAIN_ROWS = 300
GAP = 4
"""Rows between both areas, so that interpolation reads no pixel of the other."""
_WINDOW = 160
_TURNED_WINDOW = 144
_WIDE_WINDOW = (100, 400)

Colours = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a photograph, turned about its centre; sides and centre in pixels."""

    centre: tuple[float, float]
    sides: tuple[float, float]
    angle: float = 0.0

    @property
    def rows(self) -> tuple[float, float]:
        """The first and last row that the window reads."""
        half = abs(np.cos(self.angle)) * self.sides[0] + abs(np.sin(self.angle)) * self.sides[1]
        return float(self.centre[0] - half / 2), float(self.centre[0] + half / 2)


@lru_cache(maxsize=2)
def photograph(name: str) -> Colours:
    """Read a photograph of the installed scikit-image."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise typer.BadParameter("scikit-image is not installed: pip install scikit-image")
    path = Path(spec.submodule_search_locations[0]) / "data" / f"{name}.png"
    return np.asarray(open_image(path).convert("RGB"))


def draw_window(
    area: tuple[int, int], width: int, wide: bool, turned: bool, rng: np.random.Generator
) -> Window:
    """Return a random window that reads only rows of `area` (first, end)."""
    sides = _WIDE_WINDOW if wide else (_WINDOW, _WINDOW)
    angle = 0.0
    if turned:
        sides, angle = (_TURNED_WINDOW, _TURNED_WINDOW), float(rng.uniform(0, 2 * np.pi))
    sine, cosine = abs(np.sin(angle)), abs(np.cos(angle))
    height = cosine * sides[0] + sine * sides[1]
    breadth = sine * sides[0] + cosine * sides[1]
    row = rng.uniform(area[0] + height / 2, area[1] - 1 - height / 2)
    column = rng.uniform(breadth / 2, width - 1 - breadth / 2)
    return Window((float(row), float(column)), sides, angle)


def areas(height: int) -> dict[str, tuple[int, int]]:
    """Return the first row and the end of the area for training, and for tests."""
    return {"train": (0, TRAIN_ROWS), "test": (TRAIN_ROWS + GAP, height)}


def look(picture: Colours, window: Window, shape: tuple[int, int]) -> Colours:
    """Return the window's pixels, resized to `shape`."""
    down = (np.arange(shape[0]) + 0.5) / shape[0] - 0.5
    across = (np.arange(shape[1]) + 0.5) / shape[1] - 0.5
    rows, columns = np.meshgrid(down * window.sides[0], across * window.sides[1], indexing="ij")
    sine, cosine = np.sin(window.angle), np.cos(window.angle)
    source = [
        window.centre[0] + cosine * rows - sine * columns,
        window.centre[1] + sine * rows + cosine * columns,
    ]
    channels = [
        ndimage.map_coordinates(picture[..., channel].astype(np.float32), source, order=1)
        for channel in range(3)
    ]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def light(image: Colours, rng: np.random.Generator) -> Colours:
    """Vary brightness and contrast a little and add noise, as a camera on a line does."""
    gain, offset = rng.uniform(0.95, 1.05), rng.uniform(-4, 4)
    noise = rng.normal(0, 1.5, (*image.shape[:2], 1))
    lit = (image.astype(np.float32) - 128) * gain + 128 + offset + noise
    return np.round(np.clip(lit, 0, 255)).astype(np.uint8)


def plate(surface: Colours, rng: np.random.Generator) -> Colours:
    """Cut a plate with holes and a slot out of a surface, within 2 pixels of the same place."""
    height, width = surface.shape[:2]
    down, across = rng.uniform(-2, 2, 2)
    scale = 4
    canvas = Image.new("L", (width * scale, height * scale))
    pen = ImageDraw.Draw(canvas)

    def box(top: float, left: float, bottom: float, right: float) -> tuple[float, ...]:
        rows = (scale * (height * edge + down) for edge in (top, bottom))
        columns = (scale * (width * edge + across) for edge in (left, right))
        (upper, lower), (first, last) = rows, columns
        return first, upper, last, lower

    pen.rounded_rectangle(box(0.06, 0.06, 0.94, 0.94), radius=scale * 0.1 * height, fill=255)
    for row, column in ((0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8)):
        pen.ellipse(box(row - 0.05, column - 0.05, row + 0.05, column + 0.05), fill=0)
    pen.rectangle(box(0.45, 0.35, 0.55, 0.65), fill=0)
    cover = np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    mixed = surface * cover[..., None] + 24 * (1 - cover[..., None])
    return np.round(mixed).astype(np.uint8)

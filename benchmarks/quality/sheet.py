"""A picture of the drawn defects: each kind and strength on each photograph."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.quality.sets import SQUARE
from benchmarks.quality.surfaces import PHOTOGRAPHS, areas, draw_window, look, photograph
from model.synthetic import Kind, Size, Strength, draw

_SIDE = 160
_LEFT, _TOP = 130, 24


def draw_sheet(path: Path, size: Size, seed: int, photographs: Sequence[str] = PHOTOGRAPHS) -> None:
    """Write a contact sheet; a red line surrounds each mask in the rows "marked"."""
    rows = []
    for name in photographs:
        picture = photograph(name)
        rng = np.random.default_rng(seed)
        area = areas(picture.shape[0])["test"]
        window = draw_window(area, picture.shape[1], wide=False, turned=False, rng=rng)
        image = look(picture, window, SQUARE)
        for strength in Strength:
            drawn = [draw(image, kind, strength, (seed,), size) for kind in Kind]
            rows.append((f"{name}, {strength}", [defect.image for defect in drawn]))
        rows.append((f"{name}, marked", [_marked(d.image, d.mask) for d in drawn]))
    kinds = list(Kind)
    sheet = Image.new("RGB", (_LEFT + _SIDE * len(kinds), _TOP + _SIDE * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, kind in enumerate(kinds):
        pen.text((_LEFT + column * _SIDE + 4, 6), str(kind), fill="black")
    for number, (label, images) in enumerate(rows):
        top = _TOP + number * _SIDE
        pen.text((4, top + 4), label, fill="black")
        for column, shown in enumerate(images):
            small = Image.fromarray(shown).resize((_SIDE - 2, _SIDE - 2))
            sheet.paste(small, (_LEFT + column * _SIDE, top))
    sheet.save(path)


def _marked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    outline = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask)
    return np.where(outline[..., None], np.array([255, 0, 0], np.uint8), image)

"""Pictures of an inspection: the anomaly map as grey values, as a mask, and laid over the image.

Scores are on the 0 to 1 scale of `Calibration.pixel_score`, where 0.5 is the pixel threshold.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt16
from PIL import Image, ImageDraw

from model.inspection import Region

_STOPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_COLOURS = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64
)
_OPACITY = 0.7
_DEEPEST = 65535
_BLOCK_PX = 2**18
_BAND_PX = 2**21
_LINES_PER_SIDE = 300
_THICKEST = 0.1
"""Largest thickness of a box's line, as a share of the shorter side. In long line-scan images, a
thickness from the longer side would cover the picture and take quadratic time to draw."""
_BOX_COLOUR = (255, 255, 255)
_BOX_EDGE = (0, 0, 0)


def scale_scores(
    values: Float32[np.ndarray, "h w"], score: Callable[[float], float]
) -> Float[np.ndarray, "h w"]:
    """Return raw map values as scores, given an increasing function `score`.

    Interpolates linearly between 512 values, finer than an 8-bit picture can show. The point where
    `score` crosses 0.5 is one of them, so no value changes its side of the threshold.
    """
    low, high = float(values.min()), float(values.max())
    raw = np.linspace(low, high, 512)
    if score(low) < 0.5 < score(high):
        raw = np.sort(np.append(raw, _crossing(low, high, score)))
    scores: Float[np.ndarray, "h w"] = np.interp(values, raw, [score(float(r)) for r in raw])
    return scores


def _crossing(low: float, high: float, score: Callable[[float], float]) -> float:
    """Return the highest number from `low` to `high` whose score is at most 0.5."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if score(middle) > 0.5 else (middle, high)
    return low


def levels(scores: Float[np.ndarray, "h w"], size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
    """Return 65535 times the scores at `size` (width, height), bilinear, rounded, halves down.

    A level is above 32767 exactly where the score at that pixel is above 0.5.
    """
    clipped = Image.fromarray(np.clip(scores, 0, 1).astype(np.float32))
    spread = np.asarray(clipped.resize(size, Image.Resampling.BILINEAR))
    scaled = np.empty(spread.size, np.uint16)
    for start in range(0, spread.size, _BLOCK_PX):  # float64 in blocks, to bound memory
        block = spread.reshape(-1)[start : start + _BLOCK_PX].astype(np.float64)
        scaled[start : start + _BLOCK_PX] = np.ceil(block * _DEEPEST - 0.5)
    return scaled.reshape(spread.shape)


def raw(scores: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Image.Image:
    """Return scores as a 16-bit grey image ("I;16") of `size` (width, height); see `levels`."""
    return Image.fromarray(levels(scores, size))


def mask(scores: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Image.Image:
    """Return 255 where the score is above 0.5 and 0 elsewhere, an "L" of `size` (width, height)."""
    above = levels(scores, size) > _DEEPEST // 2
    return Image.fromarray(np.where(above, np.uint8(255), np.uint8(0)))


def heatmap(scores: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Image.Image:
    """Return scores as an 8-bit grey image ("L") of `size` (width, height), 255 being score 1."""
    # PIL truncates floats; adding 0.5 rounds them.
    levels = np.clip(scores, 0, 1).astype(np.float32) * 255 + np.float32(0.5)
    return Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR).convert("L")


def colours(grey: Image.Image) -> Image.Image:
    """Return grey values ("L") as colours ("RGB"), from black through red to pale yellow."""
    position = np.arange(256) / 255
    tables = [np.rint(np.interp(position, _STOPS, channel)) for channel in _COLOURS.T]
    return Image.merge("RGB", [grey.point(table.astype(int).tolist()) for table in tables])


def overlay(
    image: Image.Image,
    scores: Float[np.ndarray, "h w"],
    regions: Sequence[Region] = (),
) -> Image.Image:
    """Return the image ("RGB", same size) with its heatmap and a box around each region on top.

    `image` is upright and 8-bit, as from `model.images.preprocess.to_rgb`. The heatmap's opacity
    rises with the score, so normal areas look unchanged.
    """
    grey = heatmap(scores, image.size)
    opacities = [round(level * _OPACITY) for level in range(256)]
    width, height = image.size
    picture = Image.new("RGB", image.size)
    # In bands of rows, because each step needs memory for its pixels and holds the GIL.
    rows = max(1, _BAND_PX // width)
    for top in range(0, height, rows):
        box = (0, top, width, min(height, top + rows))
        band = grey.crop(box)
        original = image.crop(box).convert("RGB")
        covered = Image.composite(colours(band), original, band.point(opacities))
        picture.paste(covered, box)
    _draw_boxes(picture, regions)
    return picture


def _draw_boxes(picture: Image.Image, regions: Sequence[Region]) -> None:
    draw = ImageDraw.Draw(picture)
    thickness = min(max(picture.size) / _LINES_PER_SIDE, min(picture.size) * _THICKEST)
    line = max(1, round(thickness))
    for region in regions:
        x, y, width, height = region.box
        box = (x, y, x + width - 1, y + height - 1)
        # A dark line around the light one is visible on bright and dark parts.
        outer = (box[0] - line, box[1] - line, box[2] + line, box[3] + line)
        draw.rectangle(outer, outline=_BOX_EDGE, width=line)
        draw.rectangle(box, outline=_BOX_COLOUR, width=line)

"""Convert an image to the network's inputs, and the inputs' maps to the image's map.

    stretch    resize the image to the input size and ignore its aspect ratio: one input
    letterbox  preserve the aspect ratio and fill the margin with the image's edge: one input; the
               margin is cut off the map
    tile       cut the image, at its scale or a given one, into overlapping inputs; their maps are
               blended with lower weights near the edges, where inputs have less context

The frame depends only on the preprocessing and the image's size. A map always covers the whole
image, at any resolution.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from model.errors import ConfigError
from model.inspection import ImageSize

STRETCH, LETTERBOX, TILE = "stretch", "letterbox", "tile"
RESIZES = (STRETCH, LETTERBOX, TILE)

_LARGEST_MAP = 4 * 1024 * 1024
"""Larger maps are reduced to 1/2, 1/4 or 1/8. The finest features are four input pixels apart, so
little is lost, and regions need not be searched in 50 megapixels."""
_REDUCTIONS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Frame:
    """The conversion of one image to inputs and back; sizes are (height, width) in pixels.

    The image is resized to `scaled`, placed at `origin` (top, left) on a canvas of size `canvas`,
    and cut into inputs of size `tile` at `places` (top, left). The map is smaller than the canvas
    by the factor `reduction`.
    """

    tile: tuple[int, int]
    scaled: tuple[int, int]
    canvas: tuple[int, int]
    origin: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    reduction: int = 1

    @property
    def places(self) -> list[tuple[int, int]]:
        """The position of each input on the canvas, row by row."""
        return [(top, left) for top in self.rows for left in self.columns]

    @property
    def inputs(self) -> int:
        """The number of inputs of the image."""
        return len(self.rows) * len(self.columns)

    @property
    def map_size(self) -> ImageSize:
        """The size of the image's map."""
        height, width = (math.ceil(side / self.reduction) for side in self.scaled)
        return ImageSize(height, width)

    def pixels(self, image: Image.Image) -> UInt8[np.ndarray, "3 h w"]:
        """Return an upright image ("L" or "RGB") on its canvas."""
        height, width = self.scaled
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(image)
        # Resizing grey before repeating it gives the same values in a third of the time.
        grey = image.mode == "L"
        values = np.broadcast_to(values, (3, *values.shape)) if grey else values.transpose(2, 0, 1)
        if self.scaled == self.canvas:
            return np.array(values, order="C")
        margins = [
            (start, total - start - part)
            for start, total, part in zip(self.origin, self.canvas, self.scaled, strict=True)
        ]
        return np.pad(values, [(0, 0), *margins], mode="edge")

    def cut(self, pixels: UInt8[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "n 3 H W"]:
        """Return the inputs on a canvas; a single one is not copied."""
        if self.inputs == 1:
            return pixels[None]
        height, width = self.tile
        cut = [pixels[:, y : y + height, x : x + width] for y, x in self.places]
        return np.stack(cut)

    def assemble(self, maps: Float32[np.ndarray, "n H W"]) -> Float32[np.ndarray, "h w"]:
        """Return the image's map from the maps of its inputs."""
        canvas_map: np.ndarray = maps[0] if self.inputs == 1 else self._blended(maps)
        size = self.map_size
        top, left = (start // self.reduction for start in self.origin)
        part: np.ndarray = canvas_map[top : top + size.height, left : left + size.width]
        return np.ascontiguousarray(part)

    def _blended(self, maps: Float32[np.ndarray, "n H W"]) -> Float32[np.ndarray, "h w"]:
        """Average the maps, weighted by each pixel's distance from its input's edges."""
        r = self.reduction
        height, width = self.tile[0] // r, self.tile[1] // r
        down, across = _ramp(height), _ramp(width)
        weights = np.outer(down, across)
        total = np.zeros((self.canvas[0] // r, self.canvas[1] // r), np.float32)
        for (top, left), values in zip(self.places, maps, strict=True):
            rows = slice(top // r, top // r + height)
            columns = slice(left // r, left // r + width)
            total[rows, columns] += weights * _reduced(values, r)
        # The inputs form a grid, so the sum of their weights is the product of two sums.
        total /= _summed(down, self.rows, self.canvas[0], r)[:, None]
        total /= _summed(across, self.columns, self.canvas[1], r)
        return total


@dataclass(frozen=True)
class Framing:
    """The rule for framing images of any size for inputs of size `tile` (height, width)."""

    tile: tuple[int, int]
    resize: str = STRETCH
    overlap: float = 0.25
    scale: float = 1.0

    def frame(self, size: ImageSize) -> Frame:
        """Return the frame of an image with this upright size."""
        if self.resize == STRETCH:
            return self._whole
        if self.resize == LETTERBOX:
            return self._letterbox(size)
        return self._tiles(size)

    @cached_property
    def _whole(self) -> Frame:
        return Frame(self.tile, self.tile, self.tile, (0, 0), (0,), (0,))

    def _letterbox(self, size: ImageSize) -> Frame:
        height, width = self.tile
        scale = min(height / size.height, width / size.width)
        scaled = (_side(size.height, scale, height), _side(size.width, scale, width))
        origin = ((height - scaled[0]) // 2, (width - scaled[1]) // 2)
        return Frame(self.tile, scaled, self.tile, origin, (0,), (0,))

    def _tiles(self, size: ImageSize) -> Frame:
        scaled = _side(size.height, self.scale), _side(size.width, self.scale)
        reduction = next(
            (r for r in _REDUCTIONS if scaled[0] * scaled[1] <= _LARGEST_MAP * r * r),
            _REDUCTIONS[-1],
        )
        rows, height = self._starts(scaled[0], self.tile[0], reduction)
        columns, width = self._starts(scaled[1], self.tile[1], reduction)
        return Frame(self.tile, scaled, (height, width), (0, 0), rows, columns, reduction)

    def _starts(self, length: int, tile: int, step: int) -> tuple[tuple[int, ...], int]:
        """Return the evenly spaced starts of inputs along one side, and the canvas's length.

        All are multiples of `step`.
        """
        span = max(0, math.ceil((length - tile) / step))
        stride = max(1, int(tile * (1 - self.overlap)) // step)
        count = math.ceil(span / stride) + 1
        starts = tuple(step * round(i * span / max(1, count - 1)) for i in range(count))
        return starts, starts[-1] + tile


def resampled(
    values: Float32[np.ndarray, "h w"], size: tuple[int, int]
) -> Float32[np.ndarray, "H W"]:
    """Return a map resized to (height, width), bilinear; unchanged if it has that size."""
    if values.shape == size:
        return values
    height, width = size
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def check_alignment(resize: str, needs_alignment: bool) -> None:
    """Raise `ConfigError` for scoring that compares places on tiles, which have no fixed place."""
    if needs_alignment and resize == TILE:
        raise ConfigError(
            "scoring with baselines of places (standardise, distance 'mahalanobis') needs fixed "
            "positions in the image, which tiles do not have: train tiles with "
            "--set distance=cosine and without --standardise; --memory works with tiles"
        )


def _side(length: int, scale: float, most: int | None = None) -> int:
    scaled = max(1, round(length * scale))
    return scaled if most is None else min(most, scaled)


def _ramp(length: int) -> Float32[np.ndarray, " length"]:
    """Return positive weights that rise from an input's edges to its middle."""
    distance = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5)
    weights: np.ndarray = (distance / (length / 2)).astype(np.float32)
    return weights


def _summed(
    ramp: Float32[np.ndarray, " length"], starts: tuple[int, ...], canvas: int, reduction: int
) -> Float32[np.ndarray, " canvas"]:
    total = np.zeros(canvas // reduction, np.float32)
    for start in starts:
        total[start // reduction :][: len(ramp)] += ramp
    return total


def _reduced(values: Float32[np.ndarray, "H W"], reduction: int) -> Float32[np.ndarray, "_ _"]:
    """Return the maximum of each block, so that small defects are not averaged away."""
    if reduction == 1:
        return values
    height, width = values.shape
    blocks = values.reshape(height // reduction, reduction, width // reduction, reduction)
    highest: np.ndarray = blocks.max(axis=(1, 3))
    return highest

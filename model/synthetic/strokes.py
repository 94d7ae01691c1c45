"""Soft shapes as the share of each pixel that they cover, from 0 to 1.

H, W  the image    points  (row, column) in pixels
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image, ImageDraw
from scipy import ndimage

Cover = Float32[np.ndarray, "H W"]
Point = Float[np.ndarray, "2"]

_OVERSAMPLING = 4
_BORDER = 0.08
"""No defect is centred nearer to an edge than this share of the side."""


def line(shape: tuple[int, int], points: Sequence[Point], widths: Iterable[float]) -> Cover:
    """Draw a line through `points`; `widths` are those of its segments, in pixels."""
    scale = _OVERSAMPLING
    canvas = Image.new("L", (shape[1] * scale, shape[0] * scale))
    pen = ImageDraw.Draw(canvas)
    for start, end, width in zip(points[:-1], points[1:], widths, strict=True):
        thick = max(1, round(scale * width))
        ends = [tuple(scale * point[::-1] + scale / 2) for point in (start, end)]
        pen.line(ends, fill=255, width=thick)
        column, row = ends[1]
        half = thick / 2
        pen.ellipse((column - half, row - half, column + half, row + half), fill=255)
    return _shrink(canvas, shape)


def blob(
    shape: tuple[int, int], centre: Point, radius: float, softness: float, rng: np.random.Generator
) -> Cover:
    """Draw a round, uneven spot whose edge is `softness` of its radius wide, at least a pixel."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    bumps = sum(
        rng.normal(0, 0.25 / order) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
        for order in range(2, 6)
    )
    outline = np.clip(1 + bumps, 0.4, 1.6)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] - centre[:, None, None]
    turned = np.arctan2(rows, columns) % (2 * np.pi)
    reach = radius * np.interp(turned, np.append(angles, 2 * np.pi), np.append(outline, outline[0]))
    edge = max(1.0, softness * radius)
    cover: Cover = np.clip(0.5 + (reach - np.hypot(rows, columns)) / edge, 0, 1).astype(np.float32)
    return cover


def polygon(shape: tuple[int, int], corners: Sequence[Point]) -> Cover:
    """Draw a filled polygon."""
    scale = _OVERSAMPLING
    canvas = Image.new("L", (shape[1] * scale, shape[0] * scale))
    ends = [tuple(scale * corner[::-1] + scale / 2) for corner in corners]
    ImageDraw.Draw(canvas).polygon(ends, fill=255)
    return _shrink(canvas, shape)


def walk(
    start: Point, length: float, bend: float, rng: np.random.Generator, heading: float | None = None
) -> list[Point]:
    """Return a wandering line of about `length` pixels that turns by `bend` radians a step."""
    direction = rng.uniform(0, 2 * np.pi) if heading is None else heading
    steps = max(3, round(length / 4))
    points = [start]
    for _ in range(steps):
        direction += rng.normal(0, bend)
        ahead = np.array([np.sin(direction), np.cos(direction)])
        points.append(points[-1] + length / steps * ahead)
    return points


def place(shape: tuple[int, int], rng: np.random.Generator, margin: float = _BORDER) -> Point:
    """Return a random place; `margin` is the share of each side that is left out at its ends."""
    where: Point = rng.uniform(margin, 1 - margin, 2) * np.array(shape)
    return where


def soften(cover: Cover, sigma: float) -> Cover:
    """Blur a shape's edge, and keep its highest value."""
    blurred: Cover = ndimage.gaussian_filter(cover, sigma)
    return blurred * (float(cover.max()) / max(float(blurred.max()), 1e-6))


def _shrink(canvas: Image.Image, shape: tuple[int, int]) -> Cover:
    small = canvas.resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255

"""The kinds of defect: each changes an image where its shape lies, by a share `contrast`.

A kind draws its shape from `rng` alone, never from `contrast`. `extent` is the defect's size in
pixels: the radius of a spot, a third of the length of a line.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from model.synthetic.strokes import Cover, blob, line, place, polygon, soften, walk

Colours = Float32[np.ndarray, "H W 3"]
Paint = Callable[[Colours, float, float, np.random.Generator], Colours]


class Kind(StrEnum):
    """What a defect looks like."""

    SCRATCH = "scratch"
    STAIN = "stain"
    CRACK = "crack"
    HOLE = "hole"
    FIBRE = "fibre"
    SMEAR = "smear"
    TINT = "tint"
    DENT = "dent"
    SWAP = "swap"


def scratch(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Scratch a nearly straight line, brighter than the surface, or darker."""
    shape = _shape(image)
    points = walk(place(shape, rng), 3 * extent, 0.03, rng)
    width = rng.uniform(0.8, 1.2) * _pen(extent)
    cover = line(shape, points, np.full(len(points) - 1, width))
    return _blend(image, cover, 1.0 if rng.random() < 0.7 else 0.05, contrast)


def stain(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Stain a soft, uneven spot with a dark colour; the surface shows through."""
    cover = blob(_shape(image), place(_shape(image), rng), extent, 0.7, rng)
    colour = rng.uniform(0.05, 0.5, 3).astype(np.float32)
    return _blend(image, cover, image * colour, contrast)


def crack(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Crack the surface along a dark, jagged line with branches that become thinner."""
    shape = _shape(image)
    pen = _pen(extent)
    trunk = walk(place(shape, rng), 3 * extent, 0.45, rng)
    cover = line(shape, trunk, np.linspace(1.3, 0.6, len(trunk) - 1) * pen)
    for _ in range(int(rng.integers(1, 4))):
        start = int(rng.integers(1, len(trunk) - 1))
        ahead = trunk[start + 1] - trunk[start]
        side = np.arctan2(ahead[0], ahead[1]) + rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
        branch = walk(trunk[start], rng.uniform(0.6, 1.4) * extent, 0.4, rng, side)
        thin = line(shape, branch, np.linspace(0.8, 0.4, len(branch) - 1) * pen)
        cover = np.maximum(cover, thin)
    return _blend(image, cover, 0.02, contrast)


def hole(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Remove material: a dark spot with a sharp edge, lit at its lower right."""
    shape = _shape(image)
    inside = blob(shape, place(shape, rng), 0.7 * extent, 0.0, rng)
    rim = np.clip(ndimage.shift(inside, (1.5, 1.5), order=1) - inside, 0, 1)
    lit = _blend(image, rim, 1.0, 0.6 * contrast)
    return _blend(lit, inside, 0.04, contrast)


def fibre(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Lay a bent fibre of another colour on the surface, with its shadow."""
    shape = _shape(image)
    turn = rng.uniform(-0.25, 0.25)
    points = walk(place(shape, rng), 3 * extent, 0.1, rng)
    centre = points[0]
    bent = [
        centre + _turned(point - centre, turn * number / 3) for number, point in enumerate(points)
    ]
    cover = line(shape, bent, np.full(len(bent) - 1, _pen(extent)))
    shadow = soften(np.asarray(ndimage.shift(cover, (1.5, 1.0), order=1), np.float32), 0.8)
    colour = rng.uniform(0, 1, 3).astype(np.float32)
    colour += np.float32(0.8 if rng.random() < 0.5 else 0.1) - colour.mean()
    shaded = _blend(image, shadow, image * np.float32(0.4), 0.6 * contrast)
    return _blend(shaded, cover, np.clip(colour, 0, 1), contrast)


def smear(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Wipe the texture along one direction within a soft spot."""
    cover = blob(_shape(image), place(_shape(image), rng), extent, 0.5, rng)
    along = int(rng.integers(0, 2))
    wiped = ndimage.gaussian_filter1d(image, max(3.0, extent / 2), axis=along)
    wiped = ndimage.gaussian_filter1d(wiped, 1.0, axis=1 - along)
    return _blend(image, cover, wiped, min(1.0, 1.5 * contrast))


def tint(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Change brightness and colour within a patch with straight sides."""
    shape = _shape(image)
    centre, turn = place(shape, rng), rng.uniform(0, np.pi)
    sides = extent * rng.uniform(0.6, 1.4, 2)
    corners = [
        centre + _turned(np.array(corner) * sides, turn)
        for corner in ((-1, -1), (-1, 1), (1, 1), (1, -1))
    ]
    cover = soften(polygon(shape, corners), 1.0)
    tone = rng.uniform(0.15, 0.35) * (1 if rng.random() < 0.5 else -1)
    shift = tone + rng.uniform(-0.1, 0.1, 3)
    tinted: Colours = image + cover[..., None] * contrast * shift.astype(np.float32)
    return tinted


def dent(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Bend the surface: the texture bulges, and light falls on one side of the bulge."""
    shape = _shape(image)
    centre, turn = place(shape, rng), rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] - centre[:, None, None]
    weight = np.exp(-(rows**2 + columns**2) / (2 * (0.6 * extent) ** 2))
    weight[weight < 0.01] = 0
    pull = 1 - 0.7 * contrast * weight
    source = np.stack([centre[0] + rows * pull, centre[1] + columns * pull])
    bent = [
        ndimage.map_coordinates(image[..., channel], source, order=1, mode="nearest")
        for channel in range(3)
    ]
    slope = weight * (rows * np.sin(turn) + columns * np.cos(turn)) / extent
    bulged: Colours = np.stack(bent, axis=-1) + (0.35 * contrast * slope[..., None]).astype(
        np.float32
    )
    return bulged


def swap(image: Colours, extent: float, contrast: float, rng: np.random.Generator) -> Colours:
    """Put another place's texture, turned over, where it does not belong."""
    shape = _shape(image)
    cover = blob(shape, place(shape, rng), extent, 0.15, rng)
    moved = (int(rng.integers(shape[0] // 4, 3 * shape[0] // 4)), int(rng.integers(0, shape[1])))
    other = np.roll(image, moved, axis=(0, 1))[::-1, ::-1]
    if rng.random() < 0.5 and shape[0] == shape[1]:
        other = np.rot90(other)
    return _blend(image, cover, other, contrast)


PAINTS: dict[Kind, Paint] = {
    Kind.SCRATCH: scratch,
    Kind.STAIN: stain,
    Kind.CRACK: crack,
    Kind.HOLE: hole,
    Kind.FIBRE: fibre,
    Kind.SMEAR: smear,
    Kind.TINT: tint,
    Kind.DENT: dent,
    Kind.SWAP: swap,
}


def _blend(image: Colours, cover: Cover, colour: float | np.ndarray, contrast: float) -> Colours:
    weight = (contrast * cover)[..., None]
    blended: Colours = image + weight * (np.asarray(colour, np.float32) - image)
    return blended


def _shape(image: Colours) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _pen(extent: float) -> float:
    """Return a line's width in pixels: from 1 for a small defect to 2.5."""
    return float(np.clip(extent / 16, 1.0, 2.5))


def _turned(vector: np.ndarray, angle: float) -> np.ndarray:
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]])

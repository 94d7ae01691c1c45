"""Draw a defect so that its mask is exactly where the image has changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from model.errors import DatasetError
from model.synthetic.kinds import PAINTS, Kind

VISIBLE = 4
"""A pixel of 0 to 255 is part of the defect if a channel changed by more than this."""
_TRIES = 60


class Strength(StrEnum):
    """How much a defect stands out."""

    FAINT = "faint"
    MEDIUM = "medium"
    STRONG = "strong"

    @property
    def contrast(self) -> float:
        """The share of the surface that the defect replaces, 0 to 1."""
        return {"faint": 0.2, "medium": 0.45, "strong": 0.9}[self.value]


class Size(Enum):
    """How large a defect is; extents are shares of the square root of the image's area."""

    ORDINARY = (0.05, 0.12, 0.0005, 0.15)
    SMALL = (0.008, 0.014, 0.0001, 0.00099)

    def __init__(self, low: float, high: float, least: float, most: float) -> None:
        self.extents = (low, high)
        self.shares = (least, most)
        """The smallest and largest marked share of the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """An image with a defect, and the mask of the pixels that it changed visibly.

    Gaps of the mask that are at most 4 pixels wide are closed, because the texture below a defect
    is here and there as dark as the defect is.
    """

    image: UInt8[np.ndarray, "H W 3"]
    mask: Bool[np.ndarray, "H W"]


def draw(
    image: UInt8[np.ndarray, "H W 3"],
    kind: Kind,
    strength: Strength,
    seed: Sequence[int],
    size: Size = Size.ORDINARY,
) -> Drawn:
    """Return the image with one defect; depends on nothing but the arguments.

    The place and shape are the first ones of the seed that are visible when faint and not too large
    when strong. Grey images stay grey. Raises `DatasetError` if there are none, for example for a
    smear on a blank image.
    """
    return draw_each_strength(image, kind, seed, size)[strength]


def draw_each_strength(
    image: UInt8[np.ndarray, "H W 3"],
    kind: Kind,
    seed: Sequence[int],
    size: Size = Size.ORDINARY,
) -> dict[Strength, Drawn]:
    """Return the results of `draw` for all strengths, in the time of one. Raises like `draw`."""
    for attempt in range(_TRIES):
        limits = {
            limit: _render(image, kind, limit.contrast, (*seed, attempt), size)
            for limit in (Strength.FAINT, Strength.STRONG)
        }
        shares = [drawn.mask.mean() for drawn in limits.values()]
        if size.shares[0] <= shares[0] and shares[1] <= size.shares[1]:
            contrast = Strength.MEDIUM.contrast
            between = _render(image, kind, contrast, (*seed, attempt), size)
            return limits | {Strength.MEDIUM: between}
    raise DatasetError(
        f"cannot draw the defect {kind.value!r} ({size.name.lower()}) so that it is visible in an "
        f"image of {image.shape[1]} x {image.shape[0]} pixels: choose another kind of defect"
    )


def _render(
    image: UInt8[np.ndarray, "H W 3"],
    kind: Kind,
    contrast: float,
    seed: Sequence[int],
    size: Size,
) -> Drawn:
    rng = np.random.default_rng((*seed, list(Kind).index(kind)))
    extent = rng.uniform(*size.extents) * float(np.sqrt(image.shape[0] * image.shape[1]))
    surface = image.astype(np.float32) / 255
    painted = PAINTS[kind](surface, extent, contrast, rng)
    if (image == image[..., :1]).all():
        painted = np.broadcast_to(painted.mean(axis=-1, keepdims=True), painted.shape)
    drawn = np.round(np.clip(painted, 0, 1) * 255).astype(np.uint8)
    changed = np.abs(drawn.astype(np.int16) - image).max(axis=-1) > VISIBLE
    closed = ndimage.binary_closing(np.pad(changed, 2), iterations=2)[2:-2, 2:-2]
    return Drawn(drawn, changed | closed)

"""The network's input size for images that are not square."""

import math
from collections.abc import Collection

from model.inspection import ImageSize

LONG = 1.5
"""Images are wide or tall from this ratio of their sides on; others are stretched to a square."""
ALIKE = 1.25
"""Images have one shape if their ratios of width to height differ by at most this factor."""
_STEP = 32
_LEAST_SIDE = 64
_LONGEST_SIDE = 1024


def ratio(size: ImageSize) -> float:
    """Return the width of an image as a multiple of its height."""
    return size.width / size.height


def have_one_shape(sizes: Collection[ImageSize]) -> bool:
    """Whether all images have about the same ratio of sides."""
    ratios = [ratio(size) for size in sizes]
    return max(ratios) <= ALIKE * min(ratios)


def is_long(sizes: Collection[ImageSize]) -> bool:
    """Whether all images are wide, or all are tall."""
    ratios = [ratio(size) for size in sizes]
    return min(ratios) >= LONG or max(ratios) <= 1 / LONG


def input_size(shape: float, pixels: int) -> tuple[int, int]:
    """Return height and width for a ratio of sides: multiples of 32, with about that many pixels.

    No side is shorter than 64 or, beside that, longer than 1024; longer images are compressed.
    """
    sides = range(_LEAST_SIDE, _LONGEST_SIDE + 1, _STEP)

    def misfit(size: tuple[int, int]) -> float:
        height, width = size
        return abs(math.log(width / height / shape)) + abs(math.log(height * width / pixels))

    return min(((height, width) for height in sides for width in sides), key=misfit)

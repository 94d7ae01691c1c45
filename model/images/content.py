"""Detect blank images."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_STEPS = 2
"""Largest difference of levels in a blank image, as lossy compression produces it."""


def is_blank(image: Image.Image) -> bool:
    """Whether all pixels are equal: one level of grey or one colour, in 8 or 16 bits."""
    extrema = image.getextrema()
    channels = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(most - least <= _STEPS for least, most in channels)


def are_blank(pixels: UInt8[np.ndarray, "3 h w"]) -> bool:
    """Whether an input's pixels are blank."""
    flat = pixels.reshape(len(pixels), -1)
    return bool((flat.max(axis=1) - flat.min(axis=1)).max() <= _STEPS)

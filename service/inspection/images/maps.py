"""Anomaly maps as files: 16-bit grey PNG at the map's resolution, 65535 times the pixel's score.

A level is above 32767 exactly where the score is above 0.5, so a mask drawn from the file equals
the one that was drawn from the map.
"""

from io import BytesIO

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image

from model.scoring import rendering
from service.inspection.images.png import write_png

_DEEPEST = np.float32(65535)


def write_map(scores: Float[np.ndarray, "h w"]) -> bytes:
    """Return the file of a map of scores from 0 to 1."""
    height, width = scores.shape
    return write_png(rendering.levels(scores, (width, height)))


def read_map(content: bytes) -> Float32[np.ndarray, "h w"]:
    """Return the scores in a file that `write_map` made."""
    with Image.open(BytesIO(content), formats=["PNG"]) as image:
        levels = np.asarray(image)
    return levels.astype(np.float32) / _DEEPEST

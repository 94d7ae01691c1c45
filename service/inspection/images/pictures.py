"""The anomaly map as a client asks for it: base64 of a PNG in the geometry of its image."""

import base64
import zlib
from collections.abc import Sequence
from enum import StrEnum
from io import BytesIO

import numpy as np
from jaxtyping import Float32
from PIL.Image import Image

from model.inspection import Region
from model.scoring import rendering

_PNG_COMPRESSION = 1  # a picture that is looked at once is not worth more time


class HeatmapKind(StrEnum):
    """Which picture of the anomaly map to answer with."""

    NONE = "none"
    MAP = "map"
    OVERLAY = "overlay"
    MASK = "mask"
    RAW = "raw"


def picture(
    kind: HeatmapKind,
    scores: Float32[np.ndarray, "h w"],
    size: tuple[int, int],
    image: Image | None,
    regions: Sequence[Region],
) -> str:
    """Draw what is asked for at `size` (width, height); an overlay needs the `image`."""
    encoded = BytesIO()
    drawn = _draw(kind, scores, size, image, regions)
    # A photograph repeats little, but has runs: looking for those alone is faster, and smaller.
    strategy = zlib.Z_RLE if drawn.mode == "RGB" else -1
    drawn.save(encoded, "PNG", compress_level=_PNG_COMPRESSION, compress_type=strategy)
    return base64.b64encode(encoded.getbuffer()).decode("ascii")


def _draw(
    kind: HeatmapKind,
    scores: Float32[np.ndarray, "h w"],
    size: tuple[int, int],
    image: Image | None,
    regions: Sequence[Region],
) -> Image:
    if kind is HeatmapKind.OVERLAY:
        assert image is not None
        return rendering.overlay(image, scores, regions)
    if kind is HeatmapKind.MASK:
        return rendering.mask(scores, size)
    if kind is HeatmapKind.RAW:
        return rendering.raw(scores, size)
    return rendering.heatmap(scores, size)

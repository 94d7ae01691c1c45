"""Pictures of an anomaly map: base64 of a PNG of the image's size."""

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

_PNG_COMPRESSION = 1  # speed matters more than size


class HeatmapKind(StrEnum):
    """Kinds of pictures of the anomaly map."""

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
    """Return the base64 of a PNG of `size` (width, height); an overlay needs the `image`."""
    return base64.b64encode(draw(kind, scores, size, image, regions)).decode("ascii")


def draw(
    kind: HeatmapKind,
    scores: Float32[np.ndarray, "h w"],
    size: tuple[int, int],
    image: Image | None,
    regions: Sequence[Region],
) -> bytes:
    """Return a PNG of `size` (width, height); an overlay needs the `image`."""
    encoded = BytesIO()
    drawn = _draw(kind, scores, size, image, regions)
    # Photographs have runs of equal bytes but few longer repetitions: RLE is faster and smaller.
    strategy = zlib.Z_RLE if drawn.mode == "RGB" else -1
    drawn.save(encoded, "PNG", compress_level=_PNG_COMPRESSION, compress_type=strategy)
    return encoded.getvalue()


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

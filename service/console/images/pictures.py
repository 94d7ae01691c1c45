"""Pictures for the pages: an image as browsers show it, its heatmap, contours and regions.

The heatmap is a transparent layer at the map's resolution, which the page stretches over the image.
"""

import asyncio
import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Float32
from PIL.Image import Image, Resampling

from model.inspection import Region
from model.scoring import rendering
from service.errors import QueueFull
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.preparing import Prepared, Preparer

PHOTO_SIDE = 1600
THUMBNAIL_SIDE = 192
_HEAT_SIDE = 512
_MAX_WAITING = 64
_MAX_DECODED_BYTES = 2**28
_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Picture:
    """An image with its layers; `width` and `height` are those of the upright image."""

    width: int
    height: int
    photo: str | None
    heat: str | None
    contours: str
    regions: Sequence[Region]


class Previewer:
    """Makes JPEGs of images for browsers, one after the other, with memory of its own."""

    def __init__(self, limits: ImageLimits) -> None:
        self._preparer = Preparer(limits, _MAX_DECODED_BYTES)
        self._thread = ThreadPoolExecutor(1, "preview")
        self._waiting = 0

    async def jpeg(self, content: bytes, grey_bits: int, side: int) -> bytes:
        """Return the upright image, its longer side at most `side` pixels.

        Raises `QueueFull`, and for an image as `Preparer.prepare`.
        """
        if self._waiting >= _MAX_WAITING:
            raise QueueFull(f"{self._waiting} pictures already wait to be drawn")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._draw, content, grey_bits, side)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait until the thread has ended."""
        self._thread.shutdown(cancel_futures=True)

    def _draw(self, content: bytes, grey_bits: int, side: int) -> bytes:
        prepared = self._preparer.decode(content, grey_bits)
        assert isinstance(prepared, Prepared)  # without children
        assert prepared.image is not None
        return _jpeg(prepared.image, side)


def data_url(content: bytes, media_type: str) -> str:
    """Return a file as an address that has its content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def heat_png(scores: Float32[np.ndarray, "h w"]) -> bytes:
    """Return a map's colours as a PNG; its opacity rises with the score."""
    height, width = scores.shape
    factor = max(1.0, max(height, width) / _HEAT_SIDE)
    grey = rendering.heatmap(
        scores, (max(1, round(width / factor)), max(1, round(height / factor)))
    )
    picture = rendering.colours(grey)
    picture.putalpha(grey)
    encoded = BytesIO()
    picture.save(encoded, "PNG", compress_level=6)
    return encoded.getvalue()


def _jpeg(image: Image, side: int) -> bytes:
    width, height = image.size
    factor = max(1.0, max(width, height) / side)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    smaller = image if size == image.size else image.resize(size, Resampling.BILINEAR)
    encoded = BytesIO()
    smaller.convert("RGB").save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue()

"""Draws the heatmaps of an earlier inspection again, from its raw map.

    redrawer = Redrawer(ImageLimits.of(settings.inspection))
    png = await redrawer.draw(Redrawing(HeatmapKind.MASK, raw_map, size=(300, 300)))

One thread draws, with memory of its own, so that live inspections keep theirs.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL.Image import Image

from model.inspection import Region
from service.errors import QueueFull
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.maps import read_map
from service.inspection.images.pictures import HeatmapKind, draw
from service.inspection.images.preparing import Prepared, Preparer

_MAX_WAITING = 16
_MAX_DECODED_BYTES = 2**28
_GREY_BITS = 16


@dataclass(frozen=True, slots=True)
class Redrawing:
    """A heatmap to draw: `size` is the upright image's (width, height).

    An overlay needs the `image` file, and the `grey_bits` of the checkpoint's preprocessing.
    """

    kind: HeatmapKind
    raw_map: bytes
    size: tuple[int, int]
    image: bytes | None = None
    regions: Sequence[Region] = ()
    grey_bits: int = _GREY_BITS


class Redrawer:
    """Draws one heatmap after the other."""

    def __init__(self, limits: ImageLimits) -> None:
        self._preparer = Preparer(limits, _MAX_DECODED_BYTES)
        self._thread = ThreadPoolExecutor(1, "redraw")
        self._waiting = 0

    async def draw(self, drawing: Redrawing) -> bytes:
        """Return the PNG.

        Raises `QueueFull`, and for an image as `Preparer.prepare`.
        """
        if self._waiting >= _MAX_WAITING:
            raise QueueFull(f"{self._waiting} heatmaps already wait to be drawn again")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._draw, drawing)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Wait until the thread has ended."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _draw(self, drawing: Redrawing) -> bytes:
        scores = read_map(drawing.raw_map)
        image = None if drawing.image is None else self._decode(drawing.image, drawing.grey_bits)
        return draw(drawing.kind, scores, drawing.size, image, drawing.regions)

    def _decode(self, content: bytes, grey_bits: int) -> Image:
        prepared = self._preparer.decode(content, grey_bits)
        assert isinstance(prepared, Prepared)  # without children
        assert prepared.image is not None
        return prepared.image

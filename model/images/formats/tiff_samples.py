"""Decode grey and RGB TIFFs of 1 to 16 bits per sample in all arrangements.

`tiff_rows` decompresses; NumPy then handles bits, byte order, predictor, planes, tiles, alpha and
white 0.

    with open_tiff(BytesIO(content)) as image:
        image.load()
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from model.images.formats.depths import high_bytes
from model.images.formats.numpy_file import NumpyFile
from model.images.formats.tiff_layout import (
    GREY_INVERTED,
    Layout,
    layout_of,
)
from model.images.formats.tiff_rows import Pieces
from model.images.formats.tiff_tags import Tags
from model.images.orientation import SIDEWAYS, TURNS

_ORIENTATION = 274
_BATCH = 2**21
"""Samples per batch, so that a large image needs little more memory than its pixels."""


def open_tiff(file: BytesIO) -> ImageFile:
    """Open a TIFF with the right reader for its layout. Raises `ImageError`."""
    layout = layout_of(Tags(file.getvalue()))
    layout.check()
    return TiffImageFile(file) if layout.is_pillows else TiffSamples(file)


class TiffSamples(NumpyFile):
    """A TIFF with a layout that Pillow does not read correctly."""

    format = "TIFF"
    format_description = "TIFF by its samples"

    def _read_header(
        self, content: bytes
    ) -> tuple[tuple[int, int], str, Callable[[], Image.Image]]:
        tags = Tags(content)
        samples = _Samples(content, tags, layout_of(tags))
        return samples.upright_size, samples.mode, samples.decode


class _Samples:
    """Decodes a TIFF's samples."""

    def __init__(self, content: bytes, tags: Tags, layout: Layout) -> None:
        self._layout, self._order = layout, tags.order
        self._bits = layout.bits[0]
        self._channels = layout.colours + layout.has_alpha
        self._interleaved = 1 if layout.planar else layout.samples
        self._pieces = Pieces(content, tags, self._bits * self._interleaved)
        self._turn = tags.number(_ORIENTATION, 1)
        deep = self._bits == 16 and self._channels == 1
        self.mode = "I;16" if deep else {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[self._channels]

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright image."""
        width, height = self._pieces.size
        return (height, width) if self._turn in SIDEWAYS else (width, height)

    def decode(self) -> Image.Image:
        """Return the decoded upright image."""
        width, height = self._pieces.size
        kind = np.uint16 if self.mode == "I;16" else np.uint8
        pixels = np.empty((height, width, self._channels), kind)
        for plane in range(self._channels if self._layout.planar else 1):
            into = pixels[..., plane : plane + 1] if self._layout.planar else pixels
            with self._pieces.plane(plane) as rows:
                rows.load()
                self._fill(into, rows, is_colour=plane < self._layout.colours)
        picture = Image.fromarray(pixels[..., 0] if self._channels == 1 else pixels)
        return picture.transpose(TURNS[self._turn]) if self._turn in TURNS else picture

    def _fill(self, pixels: np.ndarray, rows: Image.Image, *, is_colour: bool) -> None:
        height, width, channels = pixels.shape
        batch = max(1, _BATCH // (self._pieces.columns * self._pieces.across * self._interleaved))
        for top in range(0, height, batch):
            bottom = min(top + batch, height)
            packed = np.asarray(rows.crop((0, top, rows.width, bottom)))
            values = self._values(packed)[:, :width, :channels]
            if self._layout.photometric == GREY_INVERTED and is_colour:
                values[..., 0] = 2**self._bits - 1 - values[..., 0]
            if self.mode != "I;16":
                values = high_bytes(values, 2**self._bits - 1)
            pixels[top:bottom] = values

    def _values(self, packed: UInt8[np.ndarray, "rows bytes"]) -> np.ndarray:
        """Return the samples (rows, pixels, samples); tiles may extend over the edge."""
        pieces = packed.reshape(len(packed), self._pieces.columns, self._pieces.row_bytes)
        across, samples = self._pieces.across, self._interleaved
        values = self._unpacked(pieces)[..., : across * samples]
        values = values.reshape(*pieces.shape[:2], across, samples)
        if self._layout.predictor == 2:  # samples are stored as differences from the previous pixel
            values = np.cumsum(values, axis=2, dtype=values.dtype)
        return np.array(values.reshape(len(packed), -1, samples))

    def _unpacked(self, packed: UInt8[np.ndarray, "rows columns bytes"]) -> np.ndarray:
        if self._bits == 8:
            return packed
        if self._bits == 16:
            return packed.view(f"{self._order}u2").astype(np.uint16)
        return _unpack(packed, self._bits, self._pieces.across * self._interleaved)


def _unpack(
    packed: UInt8[np.ndarray, "rows columns bytes"], bits: int, count: int
) -> UInt16[np.ndarray, "rows columns count"]:
    """Return `count` samples of each row, packed without gaps, highest bit first."""
    at = np.arange(count) * bits
    padded = np.pad(packed, ((0, 0), (0, 0), (0, 2)))
    three = [padded[..., at // 8 + i].astype(np.uint32) << (16 - 8 * i) for i in range(3)]
    window = three[0] | three[1] | three[2]
    shifts = (24 - bits - at % 8).astype(np.uint32)
    return ((window >> shifts) & np.uint32(2**bits - 1)).astype(np.uint16)

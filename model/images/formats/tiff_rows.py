"""Decompress the rows of a TIFF to bytes with libtiff through Pillow.

This replaces the file's first directory. The new one describes the rows of one plane as an 8-bit
grey image whose width is the number of bytes, and refers to the existing strips or tiles.
"""

import struct
from io import BytesIO

from PIL.TiffImagePlugin import TiffImageFile

from model.errors import ImageDamaged
from model.images.formats.tiff_tags import Tags

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _COUNTS = 273, 277, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_COUNTS = 322, 323, 324, 325
_CLASSIC, _LONG = 42, 4


class Pieces:
    """The strips or tiles of a TIFF, `across` x `down` pixels each; strips have full width."""

    def __init__(self, content: bytes, tags: Tags, pixel_bits: int) -> None:
        self._content, self._tags = content, tags
        self.size = width, height = tags.number(_WIDTH, 0), tags.number(_HEIGHT, 0)
        self.is_tiled = _TILES in tags and _TILE_WIDTH in tags
        if self.is_tiled:
            self.across, self.down = tags.number(_TILE_WIDTH, 0), tags.number(_TILE_HEIGHT, 0)
        else:
            self.across, self.down = width, min(height, tags.number(_ROWS, height))
        if min(width, height, self.across, self.down) < 1:
            raise ImageDamaged(f"a TIFF of {width} x {height} pixels has pieces without pixels")
        self.columns, self.rows = -(-width // self.across), -(-height // self.down)
        self.row_bytes = -(-self.across * pixel_bits // 8)

    def plane(self, number: int) -> TiffImageFile:
        """Return the rows of a plane as an unloaded grey image, `columns` pieces wide.

        Raises `ImageDamaged` if pieces are missing.
        """
        pieces = self.columns * self.rows
        offsets, counts = (_TILES, _TILE_COUNTS) if self.is_tiled else (_STRIPS, _COUNTS)
        of_plane = slice(number * pieces, (number + 1) * pieces)
        height = self.rows * self.down if self.is_tiled else self.size[1]
        fields = {
            _WIDTH: [self.columns * self.row_bytes],
            _HEIGHT: [height],
            _BITS: [8],
            _COMPRESSION: [self._tags.number(_COMPRESSION, 1)],
            _PHOTOMETRIC: [1],
            _FILL_ORDER: [self._tags.number(_FILL_ORDER, 1)],
            _SAMPLES: [1],
            offsets: list(self._tags.numbers(offsets)[of_plane]),
            counts: list(self._tags.numbers(counts)[of_plane]),
        }
        if len(fields[offsets]) != pieces:
            raise ImageDamaged(
                f"the TIFF has only {len(fields[offsets])} of its {pieces} strips or tiles"
            )
        if self.is_tiled:
            fields |= {_TILE_WIDTH: [self.row_bytes], _TILE_HEIGHT: [self.down]}
        else:
            fields |= {_ROWS: [self.down]}
        return TiffImageFile(BytesIO(_with_directory(self._content, self._tags.order, fields)))


def _with_directory(content: bytes, order: str, fields: dict[int, list[int]]) -> bytes:
    """Return the file with this directory as its only one, without empty fields.

    The result is always a classic TIFF. BigTIFF's header is longer, so offsets stay valid.
    """
    entries = sorted((tag, values) for tag, values in fields.items() if values)
    at = len(content) + len(content) % 2
    end = at + 2 + 12 * len(entries) + 4
    table, lists = struct.pack(f"{order}H", len(entries)), b""
    for tag, values in entries:
        packed = struct.pack(f"{order}{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack(f"{order}I", end + len(lists))
        table += struct.pack(f"{order}HHI", tag, _LONG, len(values)) + place
        lists += packed if len(values) > 1 else b""
    start = content[:2] + struct.pack(f"{order}HI", _CLASSIC, at)
    return b"".join((start, content[8:], bytes(at - len(content)), table, bytes(4), lists))

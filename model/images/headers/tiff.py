"""TIFF: the first directory, and those of EXIF that Pillow reads with it (TIFF 6.0, section 2)."""

import struct
from dataclasses import dataclass

from model.errors import ImageDamaged, ImageOverLimit
from model.images.headers.declared import MAX_ENTRIES, Declared
from model.images.headers.jpeg import START_OF_SCAN

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_ROWS_PER_STRIP, _PLANAR = 278, 284
_JPEG_COMPRESSIONS = frozenset({6, 7})
_STRIPS, _TILE_WIDTH, _TILE_LENGTH, _TILES, _EXTRA_SAMPLES = 273, 322, 323, 324, 338
_EXIF_DIRECTORIES = (34665, 34853, 40965)
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_BYTES_OF_TYPE |= {13: 4, 16: 8}
_AS_BYTES = frozenset({1, 2, 6, 7})
_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_VALUES = 100_000
_NS_PER_BYTE = 12.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a directory: `at` is where its values lie."""

    kind: int
    count: int
    at: int


class _Reader:
    """Directories of a TIFF or BigTIFF, in either byte order."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._order = "<" if content[:2] == b"II" else ">"
        self._big = content[2:4] in {b"+\0", b"\0+"}
        (self.first,) = self._numbers("Q" if self._big else "I", 8 if self._big else 4)

    def directory(self, at: int) -> dict[int, _Entry]:
        """Return the entries of the directory at this offset; of a tag that repeats, the first.

        Raises `ImageDamaged` where it lies outside, `ImageOverLimit` where it is too long.
        """
        (count,) = self._numbers("Q" if self._big else "H", at)
        if count > MAX_ENTRIES:
            raise ImageOverLimit(
                f"a directory of a TIFF may have {MAX_ENTRIES} entries, got {count}: save it anew"
            )
        at += 8 if self._big else 2
        layout, length = ("HHQ", 20) if self._big else ("HHI", 12)
        entries: dict[int, _Entry] = {}
        for number in range(count):
            start = at + number * length
            tag, kind, values = self._numbers(layout, start)
            inline = start + (12 if self._big else 8)
            entries.setdefault(tag, _Entry(kind, values, self._place(kind, values, inline)))
        return entries

    def number(self, entries: dict[int, _Entry], tag: int, default: int = 0) -> int:
        """Return the first of a tag's whole numbers."""
        entry = entries.get(tag)
        if entry is None or entry.kind not in _LETTERS or not entry.count:
            return default
        return int(self._numbers(_LETTERS[entry.kind], entry.at)[0])

    def _place(self, kind: int, count: int, inline: int) -> int:
        if kind not in _AS_BYTES and count > _MAX_VALUES:
            raise ImageOverLimit(
                f"an entry of a TIFF may have {_MAX_VALUES} numbers, got {count}: save it anew"
            )
        room = 8 if self._big else 4
        if count * _BYTES_OF_TYPE.get(kind, 1) <= room:
            return inline
        return int(self._numbers("Q" if self._big else "I", inline)[0])

    def _numbers(self, layout: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + layout, self._content, at)
        except struct.error as error:
            raise ImageDamaged("a directory of the TIFF lies outside of the file") from error


def declare(content: bytes) -> Declared:
    """Read a TIFF's first directory.

    Raises `ImageDamaged` without one, `ImageOverLimit` for one of too many entries or numbers.
    """
    reader = _Reader(content)
    entries = reader.directory(reader.first)
    for tag in _EXIF_DIRECTORIES:
        if tag in entries:
            reader.directory(reader.number(entries, tag))
    width, height = reader.number(entries, _WIDTH), reader.number(entries, _LENGTH)
    if not width or not height:
        raise ImageDamaged("a TIFF's first directory has a width and a height, and this has none")
    piece, pieces = _pieces(reader, entries, width, height)
    samples, bits = reader.number(entries, _SAMPLES, 1), reader.number(entries, _BITS, 1)
    sample_bytes = max(1, bits // 8)
    scans = content.count(START_OF_SCAN) if _is_jpeg(reader, entries) else 0
    return Declared(
        width,
        height,
        channel_bytes=4 if samples > 1 or bits > 16 else sample_bytes,
        ns_per_pixel=_NS_PER_BYTE * max(1, samples) * sample_bytes,
        layers_over_black=_EXTRA_SAMPLES in entries,
        scan_pixels=scans * min(piece[0] * piece[1], 2**62),
        entries=pieces,
        entry_name="strips or tiles",
        piece=piece,
    )


def _is_jpeg(reader: _Reader, entries: dict[int, _Entry]) -> bool:
    return reader.number(entries, _COMPRESSION, 1) in _JPEG_COMPRESSIONS


def _pieces(
    reader: _Reader, entries: dict[int, _Entry], width: int, height: int
) -> tuple[tuple[int, int], int]:
    """Return (width, height) of a strip or tile, and how many there are."""
    across, down = reader.number(entries, _TILE_WIDTH), reader.number(entries, _TILE_LENGTH)
    if not across or not down:
        across, down = width, min(height, reader.number(entries, _ROWS_PER_STRIP) or height)
    listed = [entries[tag].count for tag in (_STRIPS, _TILES) if tag in entries]
    planes = reader.number(entries, _SAMPLES, 1) if reader.number(entries, _PLANAR) == 2 else 1
    needed = -(-width // across) * -(-height // down) * planes
    return (across, down), max(needed, *listed, 0)

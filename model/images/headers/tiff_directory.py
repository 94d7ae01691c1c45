"""The directories of a TIFF or BigTIFF: what the header and the readers of its samples share."""

import contextlib
import struct
from dataclasses import dataclass

from model.errors import ImageDamaged, ImageOverLimit
from model.images.headers.declared import MAX_ENTRIES

_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_BYTES_OF_TYPE |= {13: 4, 16: 8}
_AS_BYTES = frozenset({1, 2, 6, 7})
_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_VALUES = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a directory; `at` is the offset of its values."""

    kind: int
    count: int
    at: int


class TiffReader:
    """Directories of a TIFF or BigTIFF, in either byte order."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.order = "<" if content[:2] == b"II" else ">"
        self.is_big = content[2:4] in {b"+\0", b"\0+"}
        (self.first,) = self._unpack("Q" if self.is_big else "I", 8 if self.is_big else 4)

    def directory(self, at: int) -> dict[int, Entry]:
        """Return the entries of the directory at this offset; the first of repeated tags.

        Raises `ImageDamaged` if it is outside the file, `ImageOverLimit` if it is too long.
        """
        (count,) = self._unpack("Q" if self.is_big else "H", at)
        if count > MAX_ENTRIES:
            raise ImageOverLimit(
                f"a directory of a TIFF may have {MAX_ENTRIES} entries, got {count}: save it again"
            )
        at += 8 if self.is_big else 2
        layout, length = ("HHQ", 20) if self.is_big else ("HHI", 12)
        entries: dict[int, Entry] = {}
        for number in range(count):
            start = at + number * length
            tag, kind, values = self._unpack(layout, start)
            inline = start + (12 if self.is_big else 8)
            entries.setdefault(tag, Entry(kind, values, self._place(kind, values, inline)))
        return entries

    def check_directory(self, at: int) -> None:
        """Raise `ImageOverLimit` for a directory that is too long; ignore an invalid one."""
        with contextlib.suppress(ImageDamaged):
            self.directory(at)

    def has_next(self, at: int) -> bool:
        """Return whether another directory follows the one at this offset."""
        (count,) = self._unpack("Q" if self.is_big else "H", at)
        end = at + (8 + 20 * count if self.is_big else 2 + 12 * count)
        with contextlib.suppress(ImageDamaged):
            return self._unpack("Q" if self.is_big else "I", end) != (0,)
        return False

    def numbers(self, entries: dict[int, Entry], tag: int) -> tuple[int, ...]:
        """Return a tag's whole numbers; empty if it is missing or has another type."""
        entry = entries.get(tag)
        if entry is None or entry.kind not in _LETTERS or entry.count > _MAX_VALUES:
            return ()
        return self._unpack(f"{entry.count}{_LETTERS[entry.kind]}", entry.at)

    def number(self, entries: dict[int, Entry], tag: int, default: int = 0) -> int:
        """Return the first of a tag's whole numbers."""
        entry = entries.get(tag)
        if entry is None or entry.kind not in _LETTERS or not entry.count:
            return default
        return int(self._unpack(_LETTERS[entry.kind], entry.at)[0])

    def _place(self, kind: int, count: int, inline: int) -> int:
        size = count * _BYTES_OF_TYPE.get(kind, 1)
        # Pillow ignores values outside the file and unknown types.
        is_read = kind in _BYTES_OF_TYPE and size <= len(self._content)
        if is_read and kind not in _AS_BYTES and count > _MAX_VALUES:
            raise ImageOverLimit(
                f"an entry of a TIFF may have {_MAX_VALUES} numbers, got {count}: save it again"
            )
        room = 8 if self.is_big else 4
        if size <= room:
            return inline
        return int(self._unpack("Q" if self.is_big else "I", inline)[0])

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + layout, self._content, at)
        except (struct.error, OverflowError) as error:
            raise ImageDamaged("a directory of the TIFF is outside the file") from error

"""Read the integer tags of a TIFF's first image, in classic TIFF and BigTIFF."""

import struct
from contextlib import suppress

from model.errors import ImageDamaged

_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_ENTRIES = 10_000
_MAX_NUMBERS = 100_000


class Tags:
    """The first directory: numbers by tag.

    `order` is struct's letter of the byte order; `has_next`: the file has more images. Raises
    `ImageDamaged` if the directory is outside the file.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.order = ">" if content[:2] == b"MM" else "<"
        self.is_big = content[2:4] in {b"+\0", b"\0+"}
        self._number = "Q" if self.is_big else "I"
        self._room = 8 if self.is_big else 4
        self.has_next = False
        self._entries = self._read()

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return a tag's numbers; empty if it is missing or has another type."""
        kind, count, at = self._entries.get(tag, (0, 0, 0))
        if kind not in _LETTERS or count > _MAX_NUMBERS:
            return ()
        layout = f"{count}{_LETTERS[kind]}"
        if struct.calcsize(f"={layout}") > self._room:
            (at,) = self._unpack(self._number, at)
        return self._unpack(layout, at)

    def number(self, tag: int, default: int) -> int:
        """Return the first of a tag's numbers."""
        return (self.numbers(tag) or (default,))[0]

    def _read(self) -> dict[int, tuple[int, int, int]]:
        (start,) = self._unpack(self._number, self._room)
        (count,) = self._unpack("Q" if self.is_big else "H", start)
        start += 8 if self.is_big else 2
        head = f"HH{self._number}"
        length = 4 + 2 * self._room
        entries: dict[int, tuple[int, int, int]] = {}
        for number in range(min(count, _MAX_ENTRIES)):
            at = start + number * length
            tag, kind, values = self._unpack(head, at)
            entries.setdefault(tag, (kind, values, at + 4 + self._room))
        if count <= _MAX_ENTRIES:
            with suppress(ImageDamaged):
                self.has_next = self._unpack(self._number, start + count * length) != (0,)
        return entries

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + layout, self._content, at)
        except (struct.error, OverflowError) as error:
            raise ImageDamaged("a directory of the TIFF is outside the file") from error

"""Read the integer tags of a TIFF's first image, in classic TIFF and BigTIFF."""

from model.images.headers.tiff_directory import TiffReader


class Tags:
    """The first directory: numbers by tag.

    `order` is struct's letter of the byte order; `has_next`: the file has more images. Raises
    `ImageDamaged` if the directory is outside the file, `ImageOverLimit` if it is too long.
    """

    def __init__(self, content: bytes) -> None:
        self._reader = reader = TiffReader(content)
        self._entries = reader.directory(reader.first)
        self.order = reader.order
        self.is_big = reader.is_big
        self.has_next = reader.has_next(reader.first)

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return a tag's numbers; empty if it is missing or has another type."""
        return self._reader.numbers(self._entries, tag)

    def number(self, tag: int, default: int) -> int:
        """Return the first of a tag's numbers."""
        return self._reader.number(self._entries, tag, default)

"""TIFF: the first directory, and the EXIF directories that Pillow also reads (TIFF 6.0)."""

from model.errors import ImageDamaged, ImageFormatRefused
from model.images.headers.declared import (
    COLOUR_BYTES,
    CONVERTED_BYTES,
    DEEP_GREY_BYTES,
    GREY_BYTES,
    MAX_ENTRIES,
    SEE_THROUGH_BYTES,
    Count,
    Declared,
)
from model.images.headers.jpeg import NS_PER_SCAN_PIXEL, count_scans
from model.images.headers.tiff_directory import Entry, TiffReader

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_ROWS_PER_STRIP, _PLANAR, _SEPARATE_PLANES, _PHOTOMETRIC = 278, 284, 2, 262
_STRIPS, _TILE_WIDTH, _TILE_LENGTH, _TILES, _EXTRA_SAMPLES = 273, 322, 323, 324, 338
_EXIF_DIRECTORIES = (34665, 34853, 40965)
_FAX = frozenset({2, 3, 4, 32771})
_JPEG = frozenset({6, 7})
_NS_PER_BYTE = {1: 8.0, 5: 12.0, 8: 12.0, 32773: 12.0, 32946: 12.0}
_SLOW_NS_PER_BYTE = 40.0  # LZMA, Zstandard, JPEG
_NS_PER_SAMPLE = 60.0  # unpacked by NumPy


def declare(content: bytes) -> Declared:
    """Read a TIFF's first directory.

    Raises `ImageDamaged` without one, `ImageOverLimit` for too many entries or numbers, and
    `ImageFormatRefused` for fax compression, where libtiff only logs damage.
    """
    reader = TiffReader(content)
    entries = reader.directory(reader.first)
    for tag in _EXIF_DIRECTORIES:
        if tag in entries:
            reader.check_directory(reader.number(entries, tag))
    width, height = reader.number(entries, _WIDTH), reader.number(entries, _LENGTH)
    if not width or not height:
        raise ImageDamaged("the TIFF's first directory has no width or no height")
    compression = reader.number(entries, _COMPRESSION, 1)
    if compression in _FAX:
        raise ImageFormatRefused(
            "a TIFF in fax compression (CCITT) is not supported, because its damage cannot be "
            "detected: save it uncompressed, with LZW, or as PNG"
        )
    samples, bits = reader.number(entries, _SAMPLES, 1), reader.number(entries, _BITS, 1)
    by_numpy = _is_read_by_samples(reader, entries, samples, bits)
    piece, needed, pieces = _pieces(reader, entries, width, height)
    scan_pixels = piece * count_scans(content) if compression in _JPEG else 0
    pixel_bytes = max(1, bits // 8) * max(1, samples)
    written = pixel_bytes * piece * needed * _NS_PER_BYTE.get(compression, _SLOW_NS_PER_BYTE)
    if by_numpy:
        written += max(1, samples) * piece * needed * _NS_PER_SAMPLE
    return Declared(
        width=width,
        height=height,
        peak_bytes_per_pixel=_peak_bytes(samples, bits, see_through=_EXTRA_SAMPLES in entries)
        + (pixel_bytes if by_numpy else 0),
        seconds=(written + scan_pixels * NS_PER_SCAN_PIXEL) / 1e9,
        decoded_pixels=piece * needed,
        scan_pixels=scan_pixels,
        counts=(Count("strips or tiles", pieces, MAX_ENTRIES),),
    )


def _is_read_by_samples(
    reader: TiffReader, entries: dict[int, Entry], samples: int, bits: int
) -> bool:
    """Whether `model.images.formats.tiff_samples` may read it, which is slower than Pillow."""
    planes = samples > 1 and reader.number(entries, _PLANAR) == _SEPARATE_PLANES
    inverted = bits > 8 and reader.number(entries, _PHOTOMETRIC) == 0
    return planes or inverted or bits not in {1, 2, 4, 8, 16}


def _peak_bytes(samples: int, bits: int, *, see_through: bool) -> int:
    if see_through:
        return SEE_THROUGH_BYTES
    if samples == 1:
        return {8: GREY_BYTES, 16: DEEP_GREY_BYTES}.get(bits, CONVERTED_BYTES)
    return COLOUR_BYTES if samples == 3 else CONVERTED_BYTES


def _pieces(
    reader: TiffReader, entries: dict[int, Entry], width: int, height: int
) -> tuple[int, int, int]:
    """Return a strip's or tile's pixels, the number that covers the image, and the total number.

    A strip ends at the image's edge. With separate planes there are more than cover the image.
    """
    across, down = reader.number(entries, _TILE_WIDTH), reader.number(entries, _TILE_LENGTH)
    if not across or not down:
        across, down = width, min(height, reader.number(entries, _ROWS_PER_STRIP) or height)
    needed = -(-width // across) * -(-height // down)
    separate = reader.number(entries, _PLANAR) == _SEPARATE_PLANES
    planes = reader.number(entries, _SAMPLES, 1) if separate else 1
    listed = [entries[tag].count for tag in (_STRIPS, _TILES) if tag in entries]
    return across * down, needed, max(needed * planes, *listed, 0)

"""BMP: the second header (Windows and OS/2 bitmaps)."""

import struct

from model.errors import ImageDamaged, ImageFormatRefused
from model.images.headers.declared import CONVERTED_BYTES, SEE_THROUGH_BYTES, Declared

HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Valid lengths of a bitmap's second header."""

_OS2_HEADER = 12
_RUN_LENGTHS = frozenset({1, 2})
_NS_PER_PIXEL = 10.0


def declare(content: bytes) -> Declared:
    """Read a BMP's header.

    Raises `ImageDamaged` without one, and `ImageFormatRefused` for RLE, which Pillow decodes pixel
    by pixel in Python.
    """
    is_os2 = content[14] == _OS2_HEADER
    if len(content) < (26 if is_os2 else 34):
        raise ImageDamaged(f"the BMP ends after {len(content)} bytes, in its header")
    if is_os2:
        width, height, _, bits, compression = *struct.unpack_from("<HHHH", content, 18), 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<IiHHI", content, 18)
    if compression in _RUN_LENGTHS:
        raise ImageFormatRefused(
            "a BMP with RLE compression is not supported: save it uncompressed, or as PNG"
        )
    return Declared(
        width=width,
        height=abs(height),
        peak_bytes_per_pixel=SEE_THROUGH_BYTES if bits == 32 else CONVERTED_BYTES,
        seconds=_NS_PER_PIXEL * width * abs(height) / 1e9,
    )

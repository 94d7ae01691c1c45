"""BMP: the second header (Windows and OS/2 bitmaps)."""

import struct

from model.errors import ImageDamaged, ImageFormatRefused
from model.images.headers.declared import Declared

HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""How long a bitmap's second header may be."""

_RUN_LENGTHS = frozenset({1, 2})
_NS_PER_PIXEL = 10.0


def declare(content: bytes) -> Declared:
    """Read a BMP's header.

    Raises `ImageDamaged` without one, and `ImageFormatRefused` for run lengths: Pillow decodes
    those pixel by pixel in Python.
    """
    if len(content) < 26 or (content[14] != 12 and len(content) < 34):
        raise ImageDamaged(f"the BMP ends after {len(content)} bytes, in its header")
    if content[14] == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    else:
        width, signed, _, bits, compression = struct.unpack_from("<IiHHI", content, 18)
        height = abs(signed)
    if compression in _RUN_LENGTHS:
        raise ImageFormatRefused(
            "a BMP compressed by run lengths (RLE) is not taken: save it uncompressed, or as PNG"
        )
    deep = bits > 8
    return Declared(
        width,
        height,
        channel_bytes=4 if deep else 1,
        ns_per_pixel=_NS_PER_PIXEL,
        layers_over_black=bits == 32,
    )

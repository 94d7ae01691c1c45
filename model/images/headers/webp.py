"""WebP: width and height from the first chunk (RFC 9649, sections 2.5 to 2.7)."""

import struct

from model.errors import ImageDamaged
from model.images.headers.declared import Declared

_HEADER_BYTES = 30
_ALPHA = 0x10
_NS_PER_PIXEL = 60.0


def declare(content: bytes) -> Declared:
    """Read a WebP's first chunk. Raises `ImageDamaged` where it is cut, or another."""
    if len(content) < _HEADER_BYTES:
        raise ImageDamaged(f"the WebP image ends after {len(content)} bytes, in its header")
    width, height, see_through = _canvas(content)
    return Declared(
        width, height, channel_bytes=4, ns_per_pixel=_NS_PER_PIXEL, layers_over_black=see_through
    )


def _canvas(content: bytes) -> tuple[int, int, bool]:
    chunk = content[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(content[24:27], "little") + 1
        height = int.from_bytes(content[27:30], "little") + 1
        return width, height, bool(content[20] & _ALPHA)
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF, False
    raise ImageDamaged(f"expected a WebP chunk VP8, VP8L or VP8X, got {chunk!r}")

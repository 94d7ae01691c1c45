"""WebP: width and height from the first chunk, and the following chunks (RFC 9649)."""

import struct

from model.errors import ImageDamaged
from model.images.headers.declared import (
    MAX_CHUNKS,
    MAX_EXIF_BYTES,
    SEE_THROUGH_BYTES,
    Count,
    Declared,
)

_HEADER_BYTES = 30
_FIRST_CHUNK = 12
_ALPHA = 0x10
_CANVAS_BYTES = 16
"""libwebp's bytes per pixel beside Pillow's: two canvases, a frame, and the returned copy."""
_NS_PER_PIXEL = 100.0


def declare(content: bytes) -> Declared:
    """Read a WebP's chunks. Raises `ImageDamaged` if the first is truncated or unknown."""
    if len(content) < _HEADER_BYTES:
        raise ImageDamaged(f"the WebP image ends after {len(content)} bytes, in its header")
    width, height = _canvas(content)
    chunks, exif_bytes, at = 0, 0, _FIRST_CHUNK
    while chunks <= MAX_CHUNKS and at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        chunks += 1
        exif_bytes += length if kind == b"EXIF" else 0
        at += 8 + length + length % 2
    return Declared(
        width=width,
        height=height,
        peak_bytes_per_pixel=_CANVAS_BYTES + SEE_THROUGH_BYTES,
        seconds=_NS_PER_PIXEL * width * height / 1e9,
        counts=(
            Count("chunks", chunks, MAX_CHUNKS),
            Count("bytes of EXIF", exif_bytes, MAX_EXIF_BYTES),
        ),
    )


def _canvas(content: bytes) -> tuple[int, int]:
    """Return width and height (RFC 9649, sections 2.5 to 2.7)."""
    chunk = content[12:16]
    if chunk == b"VP8X":
        width, height = content[24:27], content[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width16, height16 = struct.unpack_from("<HH", content, 26)
        return width16 & 0x3FFF, height16 & 0x3FFF
    raise ImageDamaged(f"expected a WebP chunk VP8, VP8L or VP8X, got {chunk!r}")

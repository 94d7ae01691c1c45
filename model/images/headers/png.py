"""PNG: the header chunk and the following chunks (W3C PNG, section 11)."""

import struct

from model.errors import ImageDamaged
from model.images.headers.declared import (
    COLOUR_BYTES,
    CONVERTED_BYTES,
    DEEP_GREY_BYTES,
    GREY_BYTES,
    MAX_CHUNKS,
    MAX_EXIF_BYTES,
    SEE_THROUGH_BYTES,
    Count,
    Declared,
)

_SIGNATURE_BYTES = 8
_HEADER_END = 33
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _COLOUR: 3, _PALETTE: 1, _GREY_ALPHA: 2, _COLOUR_ALPHA: 4}
_COMPRESSED = frozenset({b"iCCP", b"zTXt", b"iTXt"})
_MAX_COMPRESSED = 32
_COMPRESSED_BYTES = 2**20  # Pillow's limit per chunk
_NS_PER_BYTE = 8.0


def declare(content: bytes) -> Declared:
    """Read a PNG's header and walk its chunks. Raises `ImageDamaged` without a header."""
    if len(content) < _HEADER_END or content[12:16] != b"IHDR":
        raise ImageDamaged("the PNG does not begin with a header chunk (IHDR)")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    chunks, compressed, exif_bytes, at = 0, 0, 0, _SIGNATURE_BYTES
    see_through = colour in {_GREY_ALPHA, _COLOUR_ALPHA}
    while chunks <= MAX_CHUNKS and at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        chunks += 1
        if kind in _COMPRESSED:
            compressed += 1
        elif kind == b"eXIf":
            exif_bytes += length
        see_through = see_through or kind == b"tRNS"
        at += 12 + length
    pixel_bytes = _CHANNELS.get(colour, 4) * (2 if depth == 16 else 1)
    return Declared(
        width=width,
        height=height,
        peak_bytes_per_pixel=_peak_bytes(depth, colour, see_through),
        seconds=_NS_PER_BYTE * pixel_bytes * width * height / 1e9,
        extra_bytes=compressed * _COMPRESSED_BYTES,
        counts=(
            Count("chunks", chunks, MAX_CHUNKS),
            Count("compressed chunks of text or profiles", compressed, _MAX_COMPRESSED),
            Count("bytes of EXIF", exif_bytes, MAX_EXIF_BYTES),
        ),
    )


def _peak_bytes(depth: int, colour: int, see_through: bool) -> int:
    if see_through:
        return SEE_THROUGH_BYTES
    if colour == _GREY:
        return {1: CONVERTED_BYTES, 16: DEEP_GREY_BYTES}.get(depth, GREY_BYTES)
    return CONVERTED_BYTES if colour == _PALETTE else COLOUR_BYTES

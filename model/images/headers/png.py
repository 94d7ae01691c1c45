"""PNG: the header chunk, and how many chunks follow (W3C PNG, section 11)."""

import struct

from model.errors import ImageDamaged
from model.images.headers.declared import MAX_CHUNKS, Declared

_SIGNATURE_BYTES = 8
_HEADER_END = 33
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _COLOUR: 3, _PALETTE: 1, _GREY_ALPHA: 2, _COLOUR_ALPHA: 4}
_NS_PER_BYTE = 8.0


def declare(content: bytes) -> Declared:
    """Read a PNG's header and count its chunks. Raises `ImageDamaged` without a header."""
    if len(content) < _HEADER_END or content[12:16] != b"IHDR":
        raise ImageDamaged("a PNG begins with its header chunk, and this one does not")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    chunks, see_through = 0, colour in {_GREY_ALPHA, _COLOUR_ALPHA}
    at = _SIGNATURE_BYTES
    while chunks <= MAX_CHUNKS and at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        see_through = see_through or kind == b"tRNS"
        chunks += 1
        at += 12 + length
    channel_bytes = 4
    if colour in {_GREY, _PALETTE}:
        channel_bytes = 2 if depth == 16 else 1
    return Declared(
        width,
        height,
        channel_bytes=channel_bytes,
        ns_per_pixel=_NS_PER_BYTE * _CHANNELS.get(colour, 4) * (2 if depth == 16 else 1),
        layers_over_black=see_through,
        entries=chunks,
        entry_name="chunks",
        max_entries=MAX_CHUNKS,
    )

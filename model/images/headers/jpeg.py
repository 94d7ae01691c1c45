"""JPEG: segments up to the first scan, then scans (ITU-T T.81, annex B)."""

import struct

from model.errors import ImageDamaged
from model.images.headers.declared import MAX_ENTRIES, Declared
from model.images.headers.frames import JPEG_LS, check_frame

START_OF_SCAN = b"\xff\xda"
_FRAMES = frozenset({*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_NS_PER_PIXEL = 25.0


def declare(content: bytes) -> Declared:
    """Read a JPEG's segments.

    Raises `ImageDamaged` where no frame comes before the first scan, `ImageFormatRefused` for one
    that is not decoded.
    """
    size, channels, steps, at = None, 0, 0, 2
    while steps <= MAX_ENTRIES and at + 4 <= len(content):
        steps += 1
        marker = content[at + 1]
        if content[at] != 0xFF or marker in {0x00, 0xFF}:
            at += 1  # padding, which Pillow skips byte by byte too
            continue
        if marker == START_OF_SCAN[1]:
            break
        if marker in _FRAMES and at + 10 <= len(content):
            check_frame(marker, content[at + 4])
            height, width, channels = struct.unpack_from(">HHB", content, at + 5)
            size = width, height
        at += 2
        if marker not in _WITHOUT_LENGTH:
            at += int.from_bytes(content[at : at + 2], "big")
    if size is None and steps <= MAX_ENTRIES:
        raise ImageDamaged("a JPEG's frame comes before its first scan, and this one has none")
    width, height = size or (0, 0)
    return Declared(
        width,
        height,
        channel_bytes=1 if channels == 1 else 4,
        ns_per_pixel=_NS_PER_PIXEL,
        scan_pixels=width * height * max(1, content.count(START_OF_SCAN)),
        entries=steps,
        entry_name="segments before its first scan",
    )

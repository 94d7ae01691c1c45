"""JPEG: segments up to the first scan, then scans (ITU-T T.81, annex B)."""

import struct

import numpy as np

from model.errors import ImageDamaged
from model.images.headers.declared import (
    COLOUR_BYTES,
    CONVERTED_BYTES,
    GREY_BYTES,
    MAX_ENTRIES,
    MAX_EXIF_BYTES,
    Count,
    Declared,
)
from model.images.headers.frames import JPEG_LS, check_frame

_START_OF_SCAN = 0xDA
NS_PER_SCAN_PIXEL = 1.0
_NS_PER_PIXEL = 10.0
_NS_PER_BYTE = 10.0
_NS_PER_BYTE_OF_SCANS = 30.0
_FRAMES = frozenset({*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC})
_APP1 = 0xE1
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_RESOURCE = b"8BIM"  # Photoshop's; Pillow reads each in Python


def declare(content: bytes) -> Declared:
    """Read a JPEG's segments.

    Raises `ImageDamaged` without a frame before the first scan, `ImageFormatRefused` for an
    unsupported frame.
    """
    width, height, channels, steps, exif_bytes, at = 0, 0, 0, 0, 0, 2
    while steps <= MAX_ENTRIES and at + 4 <= len(content):
        steps += 1
        marker = content[at + 1]
        if content[at] != 0xFF or marker in {0x00, 0xFF}:
            at += 1  # padding; Pillow also reads it byte by byte
            continue
        if marker == _START_OF_SCAN:
            break
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _FRAMES and at + 10 <= len(content):
            check_frame(marker, content[at + 4])
            height, width, channels = struct.unpack_from(">HHB", content, at + 5)
        elif marker == _APP1 and content[at + 4 : at + 10] == b"Exif\0\0":
            exif_bytes += length
        at += 2 if marker in _WITHOUT_LENGTH else 2 + length
    if not width and steps <= MAX_ENTRIES:
        raise ImageDamaged("the JPEG has no frame before its first scan")
    scans = max(1, count_scans(content))
    pixels = width * height
    per_byte = _NS_PER_BYTE_OF_SCANS if scans > 1 else _NS_PER_BYTE
    nanoseconds = (scans * NS_PER_SCAN_PIXEL + _NS_PER_PIXEL) * pixels + per_byte * len(content)
    peak = {1: GREY_BYTES, 3: COLOUR_BYTES}.get(channels, CONVERTED_BYTES)
    return Declared(
        width=width,
        height=height,
        # Progressive decoding stores coefficients of 2 bytes each.
        peak_bytes_per_pixel=peak + (2 * channels if scans > 1 else 0),
        seconds=nanoseconds / 1e9,
        scan_pixels=pixels * scans,
        counts=(
            Count("segments before its first scan", steps, MAX_ENTRIES),
            Count("bytes of EXIF", exif_bytes, MAX_EXIF_BYTES),
            Count("Photoshop resources", content.count(_RESOURCE, 0, at), MAX_ENTRIES),
        ),
    )


def count_scans(content: bytes) -> int:
    """Return the number of scan markers; compressed data cannot contain these two bytes.

    NumPy is four times as fast as `bytes.count` on compressed data.
    """
    values = np.frombuffer(content, np.uint8)
    behind_marker = values[1:][values[:-1] == 0xFF]
    return int(np.count_nonzero(behind_marker == _START_OF_SCAN))

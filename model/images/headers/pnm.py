"""PNM: Netpbm's grey and colour formats (PGM and PPM), as text or in bytes."""

import re
from dataclasses import dataclass

from model.errors import ImageDamaged, ImageFormatRefused
from model.images.headers.declared import (
    CONVERTED_BYTES,
    DEEP_GREY_BYTES,
    GREY_BYTES,
    Declared,
)

_HEADER = re.compile(rb"P([2356])" + rb"(?:\s|#[^\n]*\n)+([0-9]{1,10})" * 3 + rb"\s")
_LONGEST_HEADER = 4096
_MOST = 65535
_MAX_TEXT_SAMPLES = 20_000_000
_NS_PER_SAMPLE = 5.0
_NS_PER_TEXT_SAMPLE = 150.0
_TEXT_SAMPLE_BYTES = 8 + 4  # NumPy reads text as float64, then converts to uint32


@dataclass(frozen=True, slots=True)
class Header:
    """A header: `most` is the maximum value (white); the samples begin at byte `at`."""

    width: int
    height: int
    channels: int
    most: int
    is_text: bool
    at: int

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.width * self.height * self.channels


def read_header(content: bytes) -> Header:
    """Read a PNM's header. Raises `ImageDamaged`."""
    match = _HEADER.match(content[:_LONGEST_HEADER])
    if match is None:
        raise ImageDamaged("the PGM or PPM does not begin with width, height and maximum value")
    kind, width, height, most = map(int, match.groups())
    if not width or not height or not 0 < most <= _MOST:
        raise ImageDamaged(
            f"a PGM or PPM must have pixels and a maximum value of 1 to {_MOST}, got "
            f"{width} x {height} and {most}"
        )
    return Header(width, height, 3 if kind in {3, 6} else 1, most, kind in {2, 3}, match.end())


def declare(content: bytes) -> Declared:
    """Read a PNM's header. Raises `ImageDamaged`, and `ImageFormatRefused` for too much text."""
    header = read_header(content)
    if header.is_text and header.samples > _MAX_TEXT_SAMPLES:
        raise ImageFormatRefused(
            f"a PGM or PPM as text may have {_MAX_TEXT_SAMPLES} samples, got {header.samples}: "
            "save it in bytes (P5 or P6), or as PNG"
        )
    sample_ns = _NS_PER_TEXT_SAMPLE if header.is_text else _NS_PER_SAMPLE
    grey_bytes = DEEP_GREY_BYTES if header.most > 255 else GREY_BYTES
    return Declared(
        width=header.width,
        height=header.height,
        peak_bytes_per_pixel=CONVERTED_BYTES if header.channels > 1 else grey_bytes,
        seconds=sample_ns * header.samples / 1e9,
        extra_bytes=_TEXT_SAMPLE_BYTES * header.samples if header.is_text else 0,
    )

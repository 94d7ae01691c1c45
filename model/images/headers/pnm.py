"""PNM: the grey and colour maps of Netpbm (PGM and PPM), as text or in bytes."""

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
_TEXT_SAMPLE_BYTES = 8 + 4  # as float64, as NumPy reads text, and then as whole numbers


@dataclass(frozen=True, slots=True)
class Header:
    """A header: `most` is the value of white, and the samples begin at byte `at`."""

    width: int
    height: int
    channels: int
    most: int
    is_text: bool
    at: int

    @property
    def samples(self) -> int:
        """How many samples the image has."""
        return self.width * self.height * self.channels


def read_header(content: bytes) -> Header:
    """Read a PNM's header. Raises `ImageDamaged` where there is none."""
    match = _HEADER.match(content[:_LONGEST_HEADER])
    if match is None:
        raise ImageDamaged("a PGM or PPM begins with width, height and highest value: not this one")
    kind, width, height, most = map(int, match.groups())
    if not width or not height or not 0 < most <= _MOST:
        raise ImageDamaged(
            f"a PGM or PPM has pixels and a highest value of 1 to {_MOST}, got {width} x {height} "
            f"and {most}"
        )
    return Header(width, height, 3 if kind in {3, 6} else 1, most, kind in {2, 3}, match.end())


def declare(content: bytes) -> Declared:
    """Read a PNM's header. Raises `ImageDamaged`, and `ImageFormatRefused` for very much text."""
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

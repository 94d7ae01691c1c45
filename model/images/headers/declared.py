"""The result of reading a header, common to all formats."""

from dataclasses import dataclass

MAX_ENTRIES = 10_000
"""Limit of a JPEG's segments and of a TIFF's strips, tiles and directory entries. Each costs as
much time as many pixels; camera files have tens."""

MAX_CHUNKS = 50_000
"""Limit of chunks in a PNG or WebP; 32 MB in libpng's chunks of 8 kB are 4,000."""

MAX_EXIF_BYTES = 256 * 1024
"""Limit of EXIF, which Pillow reads entry by entry in Python; a JPEG segment has 64 kB."""


@dataclass(frozen=True, slots=True)
class Count:
    """The number of a file's elements that cost decoding time, and its limit."""

    name: str
    got: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """An image as its header describes it; `width` and `height` are as stored.

    `peak_bytes_per_pixel` is the peak memory for decoding to an upright 8-bit image; `extra_bytes`
    is independent of the pixels. `decoded_pixels` is the number that the decoder writes, including
    the parts of a TIFF's tiles outside the image. `scan_pixels` is a JPEG's pixels times its scans.
    `seconds` is the longest decoding time on one core of a server.
    """

    width: int
    height: int
    peak_bytes_per_pixel: int
    seconds: float
    decoded_pixels: int = 0
    scan_pixels: int = 0
    extra_bytes: int = 0
    counts: tuple[Count, ...] = ()

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return self.width * self.height

    @property
    def peak_bytes(self) -> int:
        """The peak memory for decoding to an upright 8-bit image."""
        return self.peak_bytes_per_pixel * max(self.pixels, self.decoded_pixels) + self.extra_bytes


# Pillow's bytes per pixel, plus the peak of `model.images.preprocess.upright`: a copy turned by
# EXIF, and for transparency four pictures of 4 bytes per pixel.
GREY_BYTES = 1 + 1
COLOUR_BYTES = 4 + 4
CONVERTED_BYTES = 4 + 4 + 4
DEEP_GREY_BYTES = 2 + 2 + 12
SEE_THROUGH_BYTES = 4 + 4 + 16

"""What a header says of an image, the same words for every format."""

from dataclasses import dataclass

MAX_ENTRIES = 10_000
"""Segments of a JPEG, strips, tiles and directory entries of a TIFF: each costs as much as many
pixels, and files of cameras have tens."""

MAX_CHUNKS = 50_000
"""Chunks of a PNG or WebP: 32 MB in the 8 kB that libpng writes at once are 4,000."""

MAX_EXIF_BYTES = 256 * 1024
"""EXIF is read entry by entry, in Python; JPEG has room for 64 kB of it."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many of something a file has that costs time for each, and how many it may have."""

    name: str
    got: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """An image as its header describes it; `width` and `height` are as stored, not yet turned.

    `peak_bytes_per_pixel` is the memory that decoding takes until the image is upright, in 8 bits;
    `extra_bytes` what comes on top. `decoded_pixels` are those that the decoder writes: a TIFF's
    tiles are decoded whole, also where they lie outside of the image. `scan_pixels` are a JPEG's
    pixels times its scans. `seconds` is how long decoding takes at most, on one core of a server.
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
        """How many pixels the image has."""
        return self.width * self.height

    @property
    def peak_bytes(self) -> int:
        """The memory that decoding takes, until the image is upright and in 8 bits."""
        return self.peak_bytes_per_pixel * max(self.pixels, self.decoded_pixels) + self.extra_bytes


# What Pillow keeps of a pixel, and what `model.images.preprocess.upright` needs beside it at its
# peak: a copy turned by EXIF, and for transparency four pictures of 4 bytes a pixel.
GREY_BYTES = 1 + 1
COLOUR_BYTES = 4 + 4
CONVERTED_BYTES = 4 + 4 + 4
DEEP_GREY_BYTES = 2 + 2 + 12
SEE_THROUGH_BYTES = 4 + 4 + 16

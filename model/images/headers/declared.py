"""What a header says of an image, the same words for every format."""

from dataclasses import dataclass

MAX_ENTRIES = 10_000
"""Segments of a JPEG, directory entries, strips and tiles of a TIFF: Pillow handles each in Python
or at the price of many pixels, and files of cameras have tens."""

MAX_CHUNKS = 50_000
"""Chunks of a PNG: 32 MB in the 8 kB that libpng writes at once are 4,000."""


@dataclass(frozen=True, slots=True)
class Declared:
    """An image as its header describes it; `width` and `height` are as stored, not yet turned.

    `channel_bytes` is what Pillow keeps of a pixel: 1, 2 or 4. `layers_over_black` tells that the
    image has transparency. `scan_pixels` are the pixels of a JPEG times its scans. `entries` are
    the parts of the file that are handled one by one, of which there may be `max_entries`;
    `entry_name` says what they are. `piece` is (width, height) of a TIFF's tile, which is decoded
    whole.
    `ns_per_pixel` is the time that decoding takes at most, measured on one core.
    """

    width: int
    height: int
    channel_bytes: int
    ns_per_pixel: float
    layers_over_black: bool = False
    scan_pixels: int = 0
    entries: int = 0
    entry_name: str = "entries"
    max_entries: int = MAX_ENTRIES
    piece: tuple[int, int] = (0, 0)

    @property
    def pixels(self) -> int:
        """How many pixels the image has."""
        return self.width * self.height

    @property
    def seconds(self) -> float:
        """How long decoding takes at most, by what the header says."""
        piece = self.piece[0] * self.piece[1]
        return max(self.pixels, self.scan_pixels, piece) * self.ns_per_pixel / 1e9

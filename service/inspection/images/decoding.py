"""Bytes from a stranger to an upright 8-bit image: `model`'s decoder, and the service's errors.

Limits come first, then the format, then the pixels; see `model.images.decoding`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL.Image import Image

from model.errors import ImageError, ImageFormatRefused, ImageOverLimit
from model.images.decoding import DecodeLimits, opened
from service.errors import BodyTooLarge, ImageTooLarge, UndecodableImage, UnsupportedImage
from service.inspection.images.memory import Room


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an image may be, encoded and decoded, and cut into inputs of the network."""

    max_bytes: int
    max_pixels: int
    max_tiles: int = 512
    max_side: int = 65_500
    max_aspect: int = 65_500

    @property
    def decoding(self) -> DecodeLimits:
        """The part that is held against an image's header."""
        return DecodeLimits(
            self.max_pixels, self.max_side, self.max_aspect, max_scan_pixels=1_000_000_000
        )


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright image, grey ("L") or "RGB", and the milliseconds that decoding took."""

    image: Image
    decode_ms: float


def decode(
    content: bytes, limits: ImageLimits, room: Room | None = None, grey_bits: int = 16
) -> DecodedImage:
    """Decode an image file, where there is `room` for it; its first frame where it has several.

    `grey_bits` are those in use of a 16-bit grey image; see `model.images.preprocess.upright`.
    Raises `BodyTooLarge`, `UnsupportedImage`, `ImageTooLarge`, `QueueFull` or `UndecodableImage`.
    """
    started = time.perf_counter()
    check_bytes(len(content), limits)
    with in_service_words(), opened(content, limits.decoding) as found:
        with (room or Room(limits.max_bytes)).taken(found.image.size) as kept:
            found.load()
            kept.append(found.upright(grey_bits))
        return DecodedImage(kept[0], (time.perf_counter() - started) * 1000)


@contextmanager
def in_service_words() -> Iterator[None]:
    """Raise `model`'s errors of images as those of the service."""
    try:
        yield
    except ImageFormatRefused as error:
        raise UnsupportedImage(str(error)) from error
    except ImageOverLimit as error:
        raise ImageTooLarge(str(error)) from error
    except ImageError as error:
        raise UndecodableImage(str(error)) from error


def check_bytes(count: int, limits: ImageLimits) -> None:
    """Raise `BodyTooLarge` for an image file of too many bytes."""
    if count > limits.max_bytes:
        raise BodyTooLarge(f"an image may have {limits.max_bytes} bytes, got {count}")


def check_tiles(count: int, limits: ImageLimits) -> None:
    """Raise `ImageTooLarge` for an image that is cut into too many tiles."""
    if count > limits.max_tiles:
        raise ImageTooLarge(f"an image may take {limits.max_tiles} tiles, got {count}")

"""Limits of images, and the translation of `model`'s image errors into the service's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from model.errors import ImageError, ImageFormatRefused, ImageOverLimit
from model.images.decoding import DecodeLimits
from model.images.headers.declared import Declared
from service.errors import BodyTooLarge, ImageTooLarge, UndecodableImage, UnsupportedImage
from service.settings import InspectionSettings

LARGE_PX = 8_000_000
"""Larger images are not decoded in the pool's threads, so that small ones need not wait."""
_COSTLY_S = 0.5
_MAX_SCAN_PIXELS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits of an image: encoded bytes, pixels, tiles, sides and aspect ratio."""

    max_bytes: int
    max_pixels: int
    max_tiles: int = 512
    max_side: int = 65_500
    max_aspect: int = 20_000

    @classmethod
    def of(cls, settings: InspectionSettings) -> "ImageLimits":
        """Return the limits from the settings."""
        return cls(
            settings.max_image_bytes,
            settings.max_image_pixels,
            settings.max_image_tiles,
            settings.max_image_side,
            settings.max_image_aspect,
        )

    @property
    def decoding(self) -> DecodeLimits:
        """The limits that apply to an image's header."""
        return DecodeLimits(self.max_pixels, self.max_side, self.max_aspect, _MAX_SCAN_PIXELS)

    def check_bytes(self, count: int) -> None:
        """Raise `BodyTooLarge` for an image file with too many bytes."""
        if count > self.max_bytes:
            raise BodyTooLarge(f"an image may have at most {self.max_bytes} bytes, got {count}")


def is_costly(declared: Declared) -> bool:
    """Whether decoding may take so long that it needs a process, which can be killed."""
    return declared.pixels > LARGE_PX or declared.seconds > _COSTLY_S


@contextmanager
def in_service_words() -> Iterator[None]:
    """Re-raise `model`'s image errors as the service's."""
    try:
        yield
    except ImageFormatRefused as error:
        raise UnsupportedImage(str(error)) from error
    except ImageOverLimit as error:
        raise ImageTooLarge(str(error)) from error
    except ImageError as error:
        raise UndecodableImage(str(error)) from error

"""What an image may cost the service, and `model`'s errors of images in the service's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from model.errors import ImageError, ImageFormatRefused, ImageOverLimit
from model.images.decoding import DecodeLimits
from model.images.headers.declared import Declared
from service.errors import BodyTooLarge, ImageTooLarge, UndecodableImage, UnsupportedImage
from service.settings import InspectionSettings

LARGE_PX = 8_000_000
"""An image of more pixels takes no decode thread: those are for the many that are smaller."""
_DEAR_S = 0.5
_MAX_SCAN_PIXELS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an image may be, encoded and decoded, and cut into inputs of the network."""

    max_bytes: int
    max_pixels: int
    max_tiles: int = 512
    max_side: int = 65_500
    max_aspect: int = 20_000

    @classmethod
    def of(cls, settings: InspectionSettings) -> "ImageLimits":
        """Return the limits that the settings name."""
        return cls(
            settings.max_image_bytes,
            settings.max_image_pixels,
            settings.max_image_tiles,
            settings.max_image_side,
            settings.max_image_aspect,
        )

    @property
    def decoding(self) -> DecodeLimits:
        """The part that is held against an image's header."""
        return DecodeLimits(self.max_pixels, self.max_side, self.max_aspect, _MAX_SCAN_PIXELS)

    def check_bytes(self, count: int) -> None:
        """Raise `BodyTooLarge` for an image file of too many bytes."""
        if count > self.max_bytes:
            raise BodyTooLarge(f"an image may have {self.max_bytes} bytes, got {count}")


def is_dear(declared: Declared) -> bool:
    """Whether decoding may take so long that it has to be where it can be ended: in no thread."""
    return declared.pixels > LARGE_PX or declared.seconds > _DEAR_S


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

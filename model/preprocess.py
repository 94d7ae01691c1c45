"""From an image to the pixels that a network takes, the same in training and in serving."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from model.errors import ConfigError, ImageError
from model.stored import Stored

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_TURNED = range(2, 9)
"""EXIF's orientations but for 1, which is upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing(Stored):
    """Resize (PIL bilinear, no crop), RGB, and the encoder's mean and standard deviation.

    `image_size` is (height, width) in pixels. `mean` and `std` are per channel, of values 0 to 1.
    """

    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation != "bilinear":
            raise ConfigError(f"interpolation must be 'bilinear', got {self.interpolation!r}")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ConfigError(f"image_size must be (height, width), got {self.image_size}")
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)):
            raise ConfigError(f"mean and std take three numbers, got {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise ConfigError(f"std must be above 0, got {self.std}")

    def to_array(self, image: Image.Image) -> UInt8[np.ndarray, "3 H W"]:
        """Return the image upright, in RGB, at the network's size. Raises `ImageError`."""
        height, width = self.image_size
        resized = upright(image).resize((width, height), Image.Resampling.BILINEAR)
        # Grey is resized as one channel: the same values in a third of the time.
        return np.array(np.asarray(_rgb(resized)).transpose(2, 0, 1), order="C")


def open_image(path: Path) -> Image.Image:
    """Return the decoded image of a file. Raises `ImageError` where it is not a whole image."""
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError as error:
        raise ImageError(f"no image file {path}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{path} is not a readable image: {error}") from error
    return image


def upright(image: Image.Image) -> Image.Image:
    """Return the image upright (EXIF orientation applied) and in 8 bits, as "L" or "RGB".

    16-bit grey keeps its high byte; transparency is laid over black; palettes, CMYK and the rest
    are converted by PIL. An image that is so already is returned itself, and never copied: 50
    megapixels are 150 MB. Raises `ImageError` for floating-point and 32-bit images, whose range
    nothing tells.
    """
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
    image = ImageOps.exif_transpose(image) if turned else image
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image).astype(np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ImageError(
            f"cannot tell the value range of a {image.mode!r} image (32 bits a pixel); "
            "send 8-bit, or 16-bit grey"
        )
    if image.mode == "RGB":
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, coloured).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image as `upright` does, and in RGB: grey is repeated over the channels."""
    return _rgb(upright(image))


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")

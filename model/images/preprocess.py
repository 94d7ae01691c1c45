"""Convert an image to the network's input pixels, identically in training and serving."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from model.errors import ConfigError, ImageError
from model.images.alpha import has_alpha, over_black
from model.images.framing import RESIZES, STRETCH, TILE, Frame, Framing
from model.images.orientation import turned
from model.inspection import ImageSize
from model.limits import MOST_SIDE_PX
from model.stored import Stored

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_LEAST_STD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing(Stored):
    """The conversion of images to the network's inputs.

    `image_size` is the input's (height, width) in pixels. `resize` is "stretch", "letterbox" or
    "tile" (see `model.images.framing`); tiles overlap by at least the share `tile_overlap`, after
    resizing the image by `tile_scale`. Resizing is PIL's bilinear with antialiasing. `grey_bits` is
    the number of bits used in 16-bit grey images: 16 keeps the high byte, 12 the eight bits below
    the upper four. `mean` and `std` are the encoder's, per channel, for values from 0 to 1. Fields
    missing in an older manifest have their defaults.
    """

    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    resize: str = STRETCH
    tile_overlap: float = 0.25
    tile_scale: float = 1.0
    grey_bits: int = 16

    def __post_init__(self) -> None:
        if self.interpolation != "bilinear":
            raise ConfigError(f"interpolation must be 'bilinear', got {self.interpolation!r}")
        if len(self.image_size) != 2 or not all(1 <= n <= MOST_SIDE_PX for n in self.image_size):
            raise ConfigError(
                f"image_size must be (height, width), each 1 to {MOST_SIDE_PX}, "
                f"got {self.image_size}"
            )
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)):
            raise ConfigError(
                f"mean and std must have three finite numbers, got {self.mean} and {self.std}"
            )
        if min(self.std) < _LEAST_STD:
            raise ConfigError(f"std must be at least {_LEAST_STD}, got {self.std}")
        self._check_framing()

    def _check_framing(self) -> None:
        if self.resize not in RESIZES:
            raise ConfigError(f"resize must be {', '.join(RESIZES)}, got {self.resize!r}")
        if not 0 <= self.tile_overlap <= 0.75:
            raise ConfigError(f"tile_overlap must be 0 to 0.75, got {self.tile_overlap}")
        if not 0.01 <= self.tile_scale <= 10:
            raise ConfigError(f"tile_scale must be 0.01 to 10, got {self.tile_scale}")
        if not 8 <= self.grey_bits <= 16:
            raise ConfigError(f"grey_bits must be 8 to 16, got {self.grey_bits}")
        if self.resize == TILE and any(side % 8 for side in self.image_size):
            raise ConfigError(f"the sides of tiles must be multiples of 8, got {self.image_size}")

    @property
    def pixels_key(self) -> tuple[object, ...]:
        """A key of all settings that affect an input's pixels."""
        framing = (self.resize, self.tile_overlap, self.tile_scale)
        rule = framing if self.resize == TILE else (self.resize,)
        return (self.image_size, self.interpolation, *rule, self.grey_bits)

    def frame(self, size: ImageSize) -> Frame:
        """Return the frame of an image with this upright size."""
        return _framing(self.image_size, self.resize, self.tile_overlap, self.tile_scale).frame(
            size
        )

    def upright(self, image: Image.Image) -> Image.Image:
        """Return the image upright and in 8 bits; see `upright`."""
        return upright(image, self.grey_bits)

    def peak_bytes(self, size: ImageSize) -> int:
        """Return the peak memory of `to_arrays` for an upright image of this size.

        Pillow resizes the width first, so its intermediate picture has the new width and the old
        height.
        """
        frame = self.frame(size)
        height, width = frame.scaled
        same = (height, width) == (size.height, size.width)
        resized = 0 if same else 4 * width * (height + size.height)
        canvas = 3 * frame.canvas[0] * frame.canvas[1]
        return resized + 2 * canvas + 3 * frame.inputs * frame.tile[0] * frame.tile[1]

    def to_arrays(self, image: Image.Image) -> UInt8[np.ndarray, "n 3 H W"]:
        """Return the image's inputs, several if it is tiled. Raises `ImageError`."""
        turned = self.upright(image)
        frame = self.frame(ImageSize(turned.height, turned.width))
        return frame.cut(frame.pixels(turned))

    def to_array(self, image: Image.Image) -> UInt8[np.ndarray, "3 H W"]:
        """Return the image as one input. Raises `ImageError`, also if it needs several."""
        arrays = self.to_arrays(image)
        if len(arrays) > 1:
            raise ImageError(
                f"an image of {image.size} needs {len(arrays)} tiles, expected one input"
            )
        array: UInt8[np.ndarray, "3 H W"] = arrays[0]
        return array


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule(Stored):
    """The part of the preprocessing that is a choice in training; see `Preprocessing`."""

    resize: str = STRETCH
    tile_overlap: float = 0.25
    tile_scale: float = 1.0
    grey_bits: int = 16

    def __post_init__(self) -> None:
        self.preprocessing((64, 64), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def preprocessing(
        self,
        image_size: tuple[int, int],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> Preprocessing:
        """Return the preprocessing for an input of this size and an encoder's values."""
        return Preprocessing(image_size=image_size, mean=mean, std=std, **self.to_dict())


@lru_cache(maxsize=256)
def _framing(tile: tuple[int, int], resize: str, overlap: float, scale: float) -> Framing:
    return Framing(tile, resize, overlap, scale)


def upright(image: Image.Image, grey_bits: int = 16) -> Image.Image:
    """Return the image upright (EXIF orientation applied) and in 8 bits, as "L" or "RGB".

    Training, data checks and serving all use this function. 16-bit grey keeps the upper eight of
    its `grey_bits`, and larger values become white; transparent pixels become black unless all
    pixels are transparent; PIL converts palettes, CMYK and other modes and keeps the high bytes of
    16-bit colour. Of several frames, it is the first. An image that needs no change is returned
    without a copy, because 50 megapixels are 150 MB. Raises `ImageError` for floating-point and
    32-bit images, whose value range is unknown.
    """
    image = turned(image)
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image).astype(np.uint16)
        return Image.fromarray(np.minimum(values >> (grey_bits - 8), 255).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ImageError(
            f"cannot tell the value range of a {image.mode!r} image (32 bits per pixel); "
            "send 8-bit, or 16-bit grey"
        )
    if image.mode == "RGB":
        return image
    if has_alpha(image):
        return over_black(image)
    return image if image.mode == "L" else image.convert("RGB")


def to_rgb(image: Image.Image, grey_bits: int = 16) -> Image.Image:
    """Return the image like `upright`, in RGB: grey is repeated over the channels."""
    turned = upright(image, grey_bits)
    return turned if turned.mode == "RGB" else turned.convert("RGB")

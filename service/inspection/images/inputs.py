"""Turns an image into the network's inputs: decoded, upright, framed.

Decode threads and decode children run the same functions. This module imports only Pillow, NumPy
and `model`, because a child has to start quickly.
"""

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL.Image import Image

from model.errors import ImageError, ImageOverLimit
from model.images.decoding import DecodeLimits, Header, opened
from model.images.framing import Frame
from model.images.headers.declared import Declared
from model.images.preprocess import Preprocessing, upright
from model.inspection import ImageSize


@dataclass(frozen=True, slots=True)
class Order:
    """How to frame an image: by a checkpoint's rule and, if any, its shadow's.

    `keep` returns the upright image, too.
    """

    rule: Preprocessing
    shadow: Preprocessing | None = None
    max_tiles: int = 512
    keep: bool = False

    def peak_bytes(self, declared: Declared) -> int:
        """Return the peak memory of decoding and framing an image.

        Raises `ImageOverLimit` if the image has too many tiles in both orientations.
        """
        size = declared.width, declared.height
        framing = _framing_bytes(self.rule, size, self.max_tiles)
        if framing is None:
            check_tiles(self.rule.frame(ImageSize(size[1], size[0])), self.max_tiles)
            raise AssertionError("check_tiles must refuse an image with too many tiles")
        shadow = _framing_bytes(self.shadow, size, self.max_tiles) if self.shadow else None
        return declared.peak_bytes + framing + (shadow or 0)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A framed image; `size` is the upright (width, height)."""

    size: tuple[int, int]
    pixels: UInt8[np.ndarray, "n 3 h w"]
    shadow_pixels: UInt8[np.ndarray, "m 3 _ _"] | None
    image: Image | None
    decode_ms: float
    preprocess_ms: float


def inputs_of_file(
    content: bytes, limits: DecodeLimits, order: Order, header: Header | None = None
) -> Inputs:
    """Decode and frame an image file; pass its `header` if it was read before.

    Raises `ImageError`.
    """
    started = time.perf_counter()
    with opened(content, limits, header) as file:
        stored = file.load()
        image = file.upright(order.rule.grey_bits)
        return _framed(stored, image, order, started)


def inputs_of_image(stored: Image, order: Order) -> Inputs:
    """Frame a decoded image. Raises `ImageError`."""
    started = time.perf_counter()
    return _framed(stored, upright(stored, order.rule.grey_bits), order, started)


def _framed(stored: Image, image: Image, order: Order, started: float) -> Inputs:
    decoded = time.perf_counter()
    pixels = _inputs(image, order.rule, order.max_tiles)
    ended = time.perf_counter()
    return Inputs(
        image.size,
        pixels,
        _shadow_inputs(stored, image, pixels, order) if order.shadow else None,
        image if order.keep else None,
        decode_ms=(decoded - started) * 1000,
        preprocess_ms=(ended - decoded) * 1000,
    )


def _shadow_inputs(
    stored: Image, image: Image, pixels: UInt8[np.ndarray, "n 3 h w"], order: Order
) -> UInt8[np.ndarray, "m 3 _ _"] | None:
    """Return the shadow network's inputs: `pixels` if its rule is the same.

    Returns None if the shadow cannot take the image, so that the answer does not fail.
    """
    assert order.shadow is not None
    if order.shadow.pixels_key == order.rule.pixels_key:
        return pixels
    try:
        if order.shadow.grey_bits != order.rule.grey_bits:
            image = upright(stored, order.shadow.grey_bits)
        return _inputs(image, order.shadow, order.max_tiles)
    except ImageError:
        return None


def _inputs(image: Image, rule: Preprocessing, max_tiles: int) -> UInt8[np.ndarray, "n 3 h w"]:
    frame = rule.frame(ImageSize(image.height, image.width))
    check_tiles(frame, max_tiles)
    return frame.cut(frame.pixels(image))


def check_tiles(frame: Frame, max_tiles: int) -> None:
    """Raise `ImageOverLimit` for an image that is cut into too many tiles."""
    if frame.inputs > max_tiles:
        raise ImageOverLimit(f"an image may have at most {max_tiles} tiles, got {frame.inputs}")


@lru_cache(maxsize=256)  # a line's images usually have one size
def _framing_bytes(rule: Preprocessing, size: tuple[int, int], max_tiles: int) -> int | None:
    """Return the bytes of framing in the larger orientation; None if both have too many tiles."""
    orientations = ImageSize(size[1], size[0]), ImageSize(size[0], size[1])
    fitting = [turned for turned in orientations if rule.frame(turned).inputs <= max_tiles]
    return max(map(rule.peak_bytes, fitting), default=None)

"""An image as the networks take it: decoded, upright, framed; kept where an overlay is drawn on it.

Decode threads and decode children run the same functions, so that both answer alike. Nothing here
imports more than Pillow, NumPy and `model`: a child has to start quickly.
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
    """What is asked of an image: framed by a checkpoint's rule, and by its shadow's if it has one.

    `keep` asks for the upright image too.
    """

    rule: Preprocessing
    shadow: Preprocessing | None = None
    max_tiles: int = 512
    keep: bool = False

    def peak_bytes(self, declared: Declared) -> int:
        """Return the memory that it takes at most to fulfil this order.

        Raises `ImageOverLimit` for an image of too many tiles, whichever way it is turned.
        """
        size = declared.width, declared.height
        framing = _framing_bytes(self.rule, size, self.max_tiles)
        if framing is None:
            check_tiles(self.rule.frame(ImageSize(size[1], size[0])), self.max_tiles)
            raise AssertionError("an image whose tiles are too many is refused")
        shadow = _framing_bytes(self.shadow, size, self.max_tiles) if self.shadow else None
        return declared.peak_bytes + framing + (shadow or 0)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What became of an image; `size` is its (width, height), upright."""

    size: tuple[int, int]
    pixels: UInt8[np.ndarray, "n 3 h w"]
    shadow_pixels: UInt8[np.ndarray, "m 3 _ _"] | None
    image: Image | None
    decode_ms: float
    preprocess_ms: float


def inputs_of_file(
    content: bytes, limits: DecodeLimits, order: Order, header: Header | None = None
) -> Inputs:
    """Decode an image file and frame it; `header` is that of the file, where it is read already.

    Raises `ImageError`.
    """
    started = time.perf_counter()
    with opened(content, limits, header) as found:
        stored = found.load()
        image = found.upright(order.rule.grey_bits)
        return _framed(stored, image, order, started)


def inputs_of_image(stored: Image, order: Order) -> Inputs:
    """Frame an image that is decoded already. Raises `ImageError`."""
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
    """Return what the shadow's network takes: the same, unless its rule is another.

    None where it cannot take the image: what answers does not suffer from it.
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
        raise ImageOverLimit(f"an image may take {max_tiles} tiles, got {frame.inputs}")


@lru_cache(maxsize=256)  # the images of a line are of one size
def _framing_bytes(rule: Preprocessing, size: tuple[int, int], max_tiles: int) -> int | None:
    """Return what framing takes, turned or not; None for an image of too many tiles."""
    either_way = ImageSize(size[1], size[0]), ImageSize(size[0], size[1])
    fitting = [one for one in either_way if rule.frame(one).inputs <= max_tiles]
    return max(map(rule.peak_bytes, fitting), default=None)

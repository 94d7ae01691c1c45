"""An image before its queue: decoded, and framed as a checkpoint's network takes it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL.Image import Image

from model.images.decoding import check_size
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize
from service.errors import ServiceError
from service.inspection.images.decoding import (
    DecodedImage,
    ImageLimits,
    check_tiles,
    decode,
    in_service_words,
)
from service.inspection.images.memory import Room
from service.inspection.images.sources import Base64Upload, Source, Upload
from service.versions.registry import Route


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image as the network and, where wanted, the overlay need it; `size` is (width, height)."""

    size: tuple[int, int]
    pixels: UInt8[np.ndarray, "n 3 h w"]
    map_size: ImageSize
    image: Image | None
    timings_ms: Mapping[str, float]
    shadow_pixels: UInt8[np.ndarray, "m 3 _ _"] | None = None

    @property
    def image_size(self) -> ImageSize:
        """The size as the network's side has it."""
        width, height = self.size
        return ImageSize(height, width)


class Preparer:
    """Prepares images within limits; decoded ones hold no more than `max_decoded_bytes`.

    Those that an overlay is going to be drawn on count until they are let go.
    """

    def __init__(self, limits: ImageLimits, max_decoded_bytes: int = 2**30) -> None:
        self._limits = limits
        self._room = Room(max_decoded_bytes)

    def prepare(self, route: Route, source: Source | Image, keep: bool) -> Prepared:
        """Prepare an image for the route, and for its shadow; `keep` it for an overlay.

        Raises as `decode`, and `ImageTooLarge` for too many tiles.
        """
        decoded = self._decoded(source, route.preprocessing)
        started = time.perf_counter()
        size = ImageSize(decoded.image.height, decoded.image.width)
        pixels = self._framed(decoded.image, route.preprocessing)
        timings_ms = {
            "decode": decoded.decode_ms,
            "preprocess": (time.perf_counter() - started) * 1000,
        }
        shadow = None
        if route.shadow:
            shadow = self._for_shadow(route.shadow, route, source, decoded.image, pixels)
        return Prepared(
            decoded.image.size,
            pixels,
            route.preprocessing.frame(size).map_size,
            decoded.image if keep else None,
            timings_ms,
            shadow,
        )

    def _for_shadow(
        self,
        shadow: Route,
        route: Route,
        source: Source | Image,
        image: Image,
        pixels: UInt8[np.ndarray, "n 3 h w"],
    ) -> UInt8[np.ndarray, "m 3 _ _"] | None:
        """Return what the shadow's network takes: the same, unless its rule is another.

        None where it cannot take the image: what answers does not suffer from it.
        """
        theirs, ours = shadow.preprocessing, route.preprocessing
        if theirs.pixels_key == ours.pixels_key:
            return pixels
        try:
            if theirs.grey_bits != ours.grey_bits:
                image = self._decoded(source, theirs).image
            return self._framed(image, theirs)
        except ServiceError:
            return None

    def _framed(self, image: Image, preprocessing: Preprocessing) -> UInt8[np.ndarray, "n 3 h w"]:
        frame = preprocessing.frame(ImageSize(image.height, image.width))
        check_tiles(frame.inputs, self._limits)
        return frame.cut(frame.pixels(image))

    def _decoded(self, source: Source | Image, preprocessing: Preprocessing) -> DecodedImage:
        bits = preprocessing.grey_bits
        if isinstance(source, Upload):
            return decode(source.content, self._limits, self._room, bits)
        if isinstance(source, Base64Upload):
            return decode(source.decode(self._limits.max_bytes), self._limits, self._room, bits)
        started = time.perf_counter()
        with in_service_words():
            check_size(source.size, self._limits.decoding)
            image = preprocessing.upright(source)
        return DecodedImage(image, (time.perf_counter() - started) * 1000)

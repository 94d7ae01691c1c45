"""An image before its queue: decoded, and framed as a checkpoint's network takes it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL.Image import Image

from model.images.decoding import check_size, read_header
from model.images.headers.declared import COLOUR_BYTES, Declared
from model.inspection import ImageSize
from service.inspection.images.child_pool import DecodeChildren
from service.inspection.images.decoding import ImageLimits, in_service_words, is_dear
from service.inspection.images.inputs import Inputs, Order, inputs_of_file, inputs_of_image
from service.inspection.images.memory import Room
from service.inspection.images.sources import Base64Upload, Source
from service.versions.registry import Route

_PATIENCE_S = 0.02


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


@dataclass(frozen=True, slots=True, eq=False)
class DearImage:
    """An image within the limits whose decoding is left to a child: `Preparer.prepare_apart`."""

    content: bytes
    order: Order
    peak_bytes: int


class Preparer:
    """Prepares images within limits; those in threads take `max_decoded_bytes` together at most.

    Those in children take as much again: large ones wait for each other, and not for a moment
    without small ones. An image that an overlay is going to be drawn on counts until it is let go.
    Without `children`, every image is decoded where `prepare` is called.
    """

    def __init__(
        self,
        limits: ImageLimits,
        max_decoded_bytes: int = 2**30,
        children: DecodeChildren | None = None,
    ) -> None:
        self._limits = limits
        self._room = Room(max_decoded_bytes)
        self._room_apart = Room(max_decoded_bytes)
        self._children = children

    def prepare(self, route: Route, source: Source | Image, keep: bool) -> Prepared | DearImage:
        """Prepare an image for the route, and for its shadow; `keep` it for an overlay.

        Raises `BodyTooLarge`, `UnsupportedImage`, `ImageTooLarge`, `QueueFull` or
        `UndecodableImage`.
        """
        shadow = route.shadow.preprocessing if route.shadow else None
        order = Order(route.preprocessing, shadow, self._limits.max_tiles, keep)
        with in_service_words():
            if isinstance(source, Image):
                return self._of_image(source, order)
            return self._of_file(self._content(source), order)

    async def prepare_apart(self, dear: DearImage) -> Prepared:
        """Prepare an image in a child, which is killed when this is cancelled.

        Waits for room. Raises as `prepare`, and `InspectionFailed` where the child dies.
        """
        assert self._children is not None
        while not self._room_apart.has(dear.peak_bytes):
            await asyncio.sleep(_PATIENCE_S)
        with in_service_words(), self._room_apart.taken(dear.peak_bytes) as kept:
            inputs = await self._children.inputs(dear.content, dear.order, dear.peak_bytes)
            return _prepared(inputs, dear.order, kept)

    def _of_file(self, content: bytes, order: Order) -> Prepared | DearImage:
        limits = self._limits.decoding
        header = read_header(content, limits)
        peak_bytes = order.peak_bytes(header.declared)
        if self._children is not None and is_dear(header.declared):
            # What is sent back is there twice, in the child and here.
            sent_back = COLOUR_BYTES * header.declared.pixels if order.keep else 0
            return DearImage(content, order, peak_bytes + sent_back)
        with self._room.taken(peak_bytes) as kept:
            return _prepared(inputs_of_file(content, limits, order, header), order, kept)

    def _of_image(self, image: Image, order: Order) -> Prepared:
        check_size(image.size, self._limits.decoding)
        declared = Declared(
            width=image.width, height=image.height, peak_bytes_per_pixel=COLOUR_BYTES, seconds=0
        )
        with self._room.taken(order.peak_bytes(declared)) as kept:
            return _prepared(inputs_of_image(image, order), order, kept)

    def _content(self, source: Source) -> bytes:
        if isinstance(source, Base64Upload):
            return source.decode(self._limits.max_bytes)
        self._limits.check_bytes(len(source.content))
        return source.content


def _prepared(inputs: Inputs, order: Order, kept: list[Image]) -> Prepared:
    if inputs.image is not None:
        kept.append(inputs.image)
    width, height = inputs.size
    return Prepared(
        inputs.size,
        inputs.pixels,
        order.rule.frame(ImageSize(height, width)).map_size,
        inputs.image,
        {"decode": inputs.decode_ms, "preprocess": inputs.preprocess_ms},
        inputs.shadow_pixels,
    )

"""Decodes an image and frames it as a checkpoint's network needs it, before it is queued."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL.Image import Image

from model.images.decoding import check_size, read_header
from model.images.headers.declared import COLOUR_BYTES, Declared
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize
from service.inspection.images.child_pool import DecodeChildren
from service.inspection.images.decoding import ImageLimits, in_service_words, is_costly
from service.inspection.images.inputs import Inputs, Order, inputs_of_file, inputs_of_image
from service.inspection.images.memory import DecodeMemory
from service.inspection.images.sources import Base64Upload, Source
from service.versions.registry import Route

_PATIENCE_S = 0.02
_SMALLEST = Preprocessing(image_size=(1, 1), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image as the network and an overlay need it; `size` is (width, height)."""

    size: tuple[int, int]
    pixels: UInt8[np.ndarray, "n 3 h w"]
    map_size: ImageSize
    image: Image | None
    timings_ms: Mapping[str, float]
    shadow_pixels: UInt8[np.ndarray, "m 3 _ _"] | None = None

    def after_inspection(self) -> "Prepared":
        """Return it without the pixels, which only the network and an overlay need."""
        pixels = self.pixels[:0].copy()
        return Prepared(self.size, pixels, self.map_size, None, self.timings_ms, self.shadow_pixels)

    @property
    def image_size(self) -> ImageSize:
        """The size as `model` defines it."""
        width, height = self.size
        return ImageSize(height, width)


@dataclass(frozen=True, slots=True, eq=False)
class CostlyImage:
    """A costly image within the limits, for a decode child: see `Preparer.prepare_apart`."""

    content: bytes
    order: Order
    peak_bytes: int


class Preparer:
    """Prepares images within limits.

    Images in threads take at most `max_decoded_bytes` together, and those in children as much
    again, so that large images need not wait for a moment without small ones. An image kept for an
    overlay counts until it is garbage collected. Without `children`, `prepare` decodes every image.
    """

    def __init__(
        self,
        limits: ImageLimits,
        max_decoded_bytes: int = 2**30,
        children: DecodeChildren | None = None,
    ) -> None:
        self._limits = limits
        self._memory = DecodeMemory(max_decoded_bytes)
        self._children_memory = DecodeMemory(max_decoded_bytes)
        self._children = children

    def prepare(self, route: Route, source: Source | Image, keep: bool) -> Prepared | CostlyImage:
        """Prepare an image for the route and its shadow; an overlay needs `keep`.

        A costly image is returned undecoded, as `CostlyImage`. Raises `BodyTooLarge`,
        `UnsupportedImage`, `ImageTooLarge`, `QueueFull` or `UndecodableImage`.
        """
        shadow = route.shadow.preprocessing if route.shadow else None
        order = Order(route.preprocessing, shadow, self._limits.max_tiles, keep)
        with in_service_words():
            if isinstance(source, Image):
                return self._of_image(source, order)
            return self._of_file(self._content(source), order)

    def decode(self, content: bytes, grey_bits: int) -> Prepared | CostlyImage:
        """Prepare the upright image alone, as an overlay needs it; see `prepare`."""
        order = Order(replace(_SMALLEST, grey_bits=grey_bits), keep=True)
        with in_service_words():
            return self._of_file(content, order)

    async def prepare_apart(self, costly: CostlyImage) -> Prepared:
        """Prepare an image in a child, after waiting for memory; cancelling kills the child.

        Raises as `prepare`, and `InspectionFailed` if the child dies.
        """
        assert self._children is not None
        while not self._children_memory.fits(costly.peak_bytes):
            await asyncio.sleep(_PATIENCE_S)
        with in_service_words(), self._children_memory.reserved(costly.peak_bytes) as images:
            inputs = await self._children.inputs(costly.content, costly.order, costly.peak_bytes)
            return _prepared(inputs, costly.order, images)

    def _of_file(self, content: bytes, order: Order) -> Prepared | CostlyImage:
        limits = self._limits.decoding
        header = read_header(content, limits)
        peak_bytes = order.peak_bytes(header.declared)
        if self._children is not None and is_costly(header.declared):
            # The returned image is in memory twice, in the child and here.
            sent_back = COLOUR_BYTES * header.declared.pixels if order.keep else 0
            return CostlyImage(content, order, peak_bytes + sent_back)
        with self._memory.reserved(peak_bytes) as images:
            return _prepared(inputs_of_file(content, limits, order, header), order, images)

    def _of_image(self, image: Image, order: Order) -> Prepared:
        check_size(image.size, self._limits.decoding)
        declared = Declared(
            width=image.width, height=image.height, peak_bytes_per_pixel=COLOUR_BYTES, seconds=0
        )
        with self._memory.reserved(order.peak_bytes(declared)) as images:
            return _prepared(inputs_of_image(image, order), order, images)

    def _content(self, source: Source) -> bytes:
        if isinstance(source, Base64Upload):
            return source.decode(self._limits.max_bytes)
        self._limits.check_bytes(len(source.content))
        return source.content


def _prepared(inputs: Inputs, order: Order, images: list[Image]) -> Prepared:
    if inputs.image is not None:
        images.append(inputs.image)
    width, height = inputs.size
    return Prepared(
        inputs.size,
        inputs.pixels,
        order.rule.frame(ImageSize(height, width)).map_size,
        inputs.image,
        {"decode": inputs.decode_ms, "preprocess": inputs.preprocess_ms},
        inputs.shadow_pixels,
    )

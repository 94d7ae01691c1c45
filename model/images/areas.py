"""Restrict inspection to an area: a region of interest without ignored regions.

Pixels outside the area, such as fixtures, backgrounds or changing labels, do not affect scores,
regions or thresholds. Areas are in shares of the image's width and height, so they apply to every
size and preprocessing. Parts must have the same position in every image.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.errors import ConfigError, ImageError
from model.images.decoding import OWN_FILES, DecodeLimits, decode
from model.images.preprocess import upright
from model.inspection import Category, ImageSize

_LARGEST_MASK = 1024
_MASK_LIMITS = DecodeLimits(max_pixels=_LARGEST_MASK**2, max_side=_LARGEST_MASK)
_MOST_MASK_CHARACTERS = 2**21
_SUPERSAMPLED = 4
_KEPT = 16

_Share = Annotated[float, Field(ge=0, le=1)]
_Polygon = Annotated[
    tuple[tuple[_Share, _Share], ...], Field(min_length=3, max_length=10_000, fail_fast=True)
]
_Polygons = Annotated[tuple[_Polygon, ...], Field(max_length=100, fail_fast=True)]


class Area(BaseModel):
    """The inspected area of one category's images.

    It is inside `include`, if given, and outside `exclude`: polygons of (x, y), each 0 to 1 from
    the upper left corner. `mask` is the base64 of a PNG that is white inside the area.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    include: _Polygons = ()
    exclude: _Polygons = ()
    mask: str | None = Field(None, max_length=_MOST_MASK_CHARACTERS)

    @model_validator(mode="after")
    def _check(self) -> "Area":
        if self.mask is not None:
            self._picture()
        if not self.inside(ImageSize(64, 64)).any():
            raise ValueError("the area excludes all of the image: expected some pixels to inspect")
        return self

    def inside(self, size: ImageSize) -> Bool[np.ndarray, "h w"]:
        """Return the mask of pixels in a map of this size whose centre is in the area."""
        counts = np.ones((size.height, size.width), dtype=bool)
        if self.include:
            counts &= _drawn(self.include, size)
        if self.exclude:
            counts &= ~_drawn(self.exclude, size)
        if self.mask is not None:
            mask = self._picture().resize((size.width, size.height), Image.Resampling.NEAREST)
            counts &= np.asarray(mask) > 127
        return counts

    def _picture(self) -> Image.Image:
        try:
            content = base64.b64decode(self.mask or "", validate=True)
            return upright(decode(content, _MASK_LIMITS)).convert("L")
        except (binascii.Error, ImageError) as error:
            raise ValueError(f"mask is not the base64 of a PNG: {error}") from error


class Areas:
    """The areas of several categories; without one, a category's whole map is inspected."""

    def __init__(self, areas: Mapping[Category, Area]) -> None:
        self._areas = dict(areas)
        self._inside = lru_cache(maxsize=_KEPT)(self._find)

    def inside(self, category: Category, shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"] | None:
        """Return the mask of a map of that shape; None if all pixels are inspected."""
        return self._inside(category, shape) if category in self._areas else None

    def counted(
        self, values: Float32[np.ndarray, "h w"], category: Category
    ) -> Float32[np.ndarray, " pixels"]:
        """Return the pixels of a map that are in the area."""
        inside = self.inside(category, values.shape)
        return values.ravel() if inside is None else values[inside]

    def lowered(
        self, values: Float32[np.ndarray, "h w"], category: Category, most: float = math.inf
    ) -> Float32[np.ndarray, "h w"]:
        """Return the map with pixels outside set to the lowest value inside, at most `most`."""
        inside = self.inside(category, values.shape)
        if inside is None:
            return values
        floor = np.float32(min(float(values[inside].min()), most))
        if floor > most:  # float32 rounded it up
            floor = np.nextafter(floor, np.float32(-np.inf))
        return np.where(inside, values, floor)

    def _find(self, category: Category, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        inside = self._areas[category].inside(ImageSize(*shape))
        if not inside.any():
            raise ConfigError(f"the area of {category!r} has no pixel in a map of {shape}")
        return inside


def read_area(roi: Path | None, ignore: Path | None) -> Area:
    """Read a region of interest and an ignored region from files; raises `ConfigError`.

    A `.json` file has polygons, [[[x, y], ...], ...] in shares of width and height; any other file
    is a picture, white (above 127) inside the region.
    """
    values: dict[str, object] = {}
    pictures = []
    for field, path, wanted in (("include", roi, True), ("exclude", ignore, False)):
        if path is None:
            continue
        if path.suffix.lower() == ".json":
            values[field] = _polygons(path)
        else:
            pictures.append(_white(path) if wanted else ~_white(path))
    if pictures:
        values["mask"] = _encoded(_combined(pictures))
    try:
        return Area.model_validate(values)
    except ValidationError as error:
        files = " and ".join(str(path) for path in (roi, ignore) if path is not None)
        faults = "; ".join(fault["msg"] for fault in error.errors())
        raise ConfigError(f"{files}: {faults}") from error


def _polygons(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable JSON: {error}") from error


def _white(path: Path) -> Bool[np.ndarray, "h w"]:
    try:
        picture = upright(decode(path.read_bytes(), OWN_FILES)).convert("L")
    except (ImageError, OSError) as error:
        raise ConfigError(f"{path} is not a readable image: {error}") from error
    if max(picture.size) > _LARGEST_MASK:
        picture.thumbnail((_LARGEST_MASK, _LARGEST_MASK), Image.Resampling.NEAREST)
    return np.asarray(picture) > 127


def _combined(pictures: Sequence[Bool[np.ndarray, "_ _"]]) -> Bool[np.ndarray, "h w"]:
    if len({picture.shape for picture in pictures}) > 1:
        raise ConfigError(
            "the pictures of the region and of the ignored region must have the same size"
        )
    both: np.ndarray = np.logical_and.reduce(pictures)
    return both


def _encoded(counts: Bool[np.ndarray, "h w"]) -> str:
    buffer = BytesIO()
    Image.fromarray(counts).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _drawn(polygons: Sequence[_Polygon], size: ImageSize) -> Bool[np.ndarray, "h w"]:
    """Draw polygons enlarged and sample the centres, so that edges are exact to 1/8 pixel."""
    height, width = size.height * _SUPERSAMPLED, size.width * _SUPERSAMPLED
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        draw.polygon([(x * width - 0.5, y * height - 0.5) for x, y in polygon], fill=1, outline=0)
    middle = slice(_SUPERSAMPLED // 2, None, _SUPERSAMPLED)
    return np.asarray(canvas)[middle, middle]

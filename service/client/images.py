"""Converts paths, bytes, PIL images and arrays to files to post."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

from service.identifiers import new_id

ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | PIL.Image.Image | "
    "np.ndarray[Any, Any]"
)
"""A path, a file's bytes, a PIL image, or an array: (H, W) or (H, W, 3 or 4), RGB, of uint8."""
ImagesLike: TypeAlias = "ImageLike | Sequence[ImageLike]"
"""One image, or a list or tuple of them."""

_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_PNG_COMPRESSION = 1
_ORIENTATION = 0x0112


class File(NamedTuple):
    """A file to post."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One image of a batch, with its own fields; see `Client.detect`.

    client.detect_batch([Part("cell.png", category="solar-mono", part_id="cell-00042")])
    """

    image: ImageLike
    category: str | None = None
    heatmap: str | None = None
    priority: str | None = None
    part_id: str | None = None
    station: str | None = None
    job_id: str | None = None
    meta: Mapping[str, Any] | None = None
    inspection_id: str = field(default_factory=lambda: str(new_id()))
    captured_at: datetime | str | None = None
    told: str | None = None
    told_reason: str | None = None
    origin: str | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """The fields that are set, as JSON for the service."""
        fields = {slot: getattr(self, slot) for slot in self.__slots__ if slot != "image"}
        fields["captured_at"] = time_text(self.captured_at)
        return {name: value for name, value in fields.items() if value is not None}


def time_text(moment: datetime | str | None) -> str | None:
    """Return a time as ISO 8601. Raises `ValueError` for a time without a zone."""
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with a time zone, got {moment.isoformat()}")
    return moment.isoformat()


def as_parts(images: "Sequence[Part | ImageLike]") -> list[Part]:
    """Return each image as a part; a plain image becomes a part without fields."""
    return [image if isinstance(image, Part) else Part(image) for image in images]


def read_parts(parts: Sequence[Part]) -> list[File]:
    """Return the image of each part as a file; see `read_images`."""
    return read_images([part.image for part in parts])


def read_images(images: ImagesLike) -> list[File]:
    """Return each image of a list, or the single image, as a file.

    Images in memory become PNG, without loss. Raises `TypeError` or `ValueError` for anything that
    is not an image, `OSError` for an unreadable path.
    """
    listed = list(images) if isinstance(images, list | tuple) else [images]
    if not listed:
        raise ValueError("got no image; expected at least one")
    return [_read(image, f"image-{number}") for number, image in enumerate(listed)]


def _read(image: Any, name: str) -> File:  # noqa: ANN401 - checked here
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        return File(path.name, path.read_bytes())
    if isinstance(image, bytes | bytearray | memoryview):
        return File(name, bytes(image))
    if hasattr(image, "__array_interface__") and not hasattr(image, "getexif"):
        return File(f"{name}.png", _png(_picture(image)))
    if hasattr(image, "getexif"):
        return File(f"{name}.png", _png(image))
    raise TypeError(
        f"expected a path, bytes, a PIL image or a NumPy array, got {type(image).__name__}"
    )


def _picture(array: "np.ndarray[Any, Any]") -> "PIL.Image.Image":
    import numpy as np  # noqa: PLC0415 - only arrays need it
    from PIL import Image  # noqa: PLC0415

    values = np.squeeze(array, axis=2) if array.ndim == 3 and array.shape[2] == 1 else array
    grey = values.ndim == 2
    if not grey and not (values.ndim == 3 and values.shape[2] in (3, 4)):
        raise ValueError(
            f"expected an array of shape (H, W), (H, W, 3) or (H, W, 4), got {array.shape}; for "
            "several images, pass a list"
        )
    if values.dtype != np.uint8 and not (grey and values.dtype == np.uint16):
        raise TypeError(f"expected an array of uint8, or of uint16 for grey, got {values.dtype}")
    return Image.fromarray(np.ascontiguousarray(values))


def _png(image: "PIL.Image.Image") -> bytes:
    """Return an image as PNG, in its mode if PNG supports it, with its orientation."""
    from PIL import Image  # noqa: PLC0415 - only PIL images and arrays need it

    if image.mode in ("I", "F"):
        raise ValueError(
            f"an image of mode {image.mode!r} has no known value range: convert it to 8 bits"
        )
    exif = Image.Exif()
    if orientation := image.getexif().get(_ORIENTATION):
        exif[_ORIENTATION] = orientation
    written = BytesIO()
    picture = image if image.mode in _PNG_MODES else _convert(image)
    picture.save(written, "PNG", compress_level=_PNG_COMPRESSION, exif=exif)
    return written.getvalue()


def _convert(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """Return the image in a mode of PNG, without loss of bits or transparency."""
    if image.mode.startswith("I;16"):
        return image.convert("I").convert("I;16")
    return image.convert({"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(image.mode, "RGB"))

"""Bytes from a stranger to an upright 8-bit image: limits first, then the format, then the pixels.

The format is what the content begins with, whatever a file name or Content-Type says. Size is
checked before any pixel is decoded: PNG, JPEG, BMP and TIFF declare it in a header that Pillow
reads by itself; WebP's is read here, since Pillow allocates the canvas when it opens the file.
"""

import logging
import struct
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import DecompressionBombWarning, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model.errors import ImageError
from model.images.preprocess import upright
from service.errors import (
    BodyTooLarge,
    ImageTooLarge,
    ServiceError,
    UndecodableImage,
    UnsupportedImage,
)
from service.inspection.images.memory import Room

logger = logging.getLogger("service.decoding")

# Beside our own limit: where Pillow only warns of a bomb, it shall raise, in every thread.
warnings.simplefilter("error", DecompressionBombWarning)

# Opened by class and not by `PIL.Image.open`: exactly these formats, and one pixel limit, ours.
_OPENERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}
FORMATS = tuple(_OPENERS)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_WEBP_HEADER = 30


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an image may be, encoded and decoded, and cut into inputs of the network."""

    max_bytes: int
    max_pixels: int
    max_tiles: int = 512


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright image, grey ("L") or "RGB", and the milliseconds that decoding took."""

    image: Image
    decode_ms: float


def decode(
    content: bytes, limits: ImageLimits, room: Room | None = None, grey_bits: int = 16
) -> DecodedImage:
    """Decode an image file, where there is `room` for it; its first frame where it has several.

    `grey_bits` are those in use of a 16-bit grey image; see `model.images.preprocess.upright`.
    Raises `BodyTooLarge`, `UnsupportedImage`, `ImageTooLarge`, `QueueFull` or `UndecodableImage`.
    """
    started = time.perf_counter()
    check_bytes(len(content), limits)
    kind = sniff(content)
    try:
        kept = room or Room(limits.max_bytes)
        image = _load(kind, content, limits.max_pixels, kept, grey_bits)
    except ServiceError:
        raise
    except ImageError as error:
        raise UndecodableImage(f"the {kind} image cannot be used: {error}") from error
    except Exception as error:
        # Decoders raise nearly anything on damaged input, and all of it means the same here.
        logger.info("%s image of %d bytes: %r", kind, len(content), error)
        raise UndecodableImage(
            f"the {kind} image of {len(content)} bytes is truncated or damaged: "
            "expected a complete image file"
        ) from error
    return DecodedImage(image, (time.perf_counter() - started) * 1000)


def check_bytes(count: int, limits: ImageLimits) -> None:
    """Raise `BodyTooLarge` for an image file of too many bytes."""
    if count > limits.max_bytes:
        raise BodyTooLarge(f"an image may have {limits.max_bytes} bytes, got {count}")


def sniff(content: bytes) -> str:
    """Return the image format that the content begins like, one of `FORMATS`.

    Raises `UndecodableImage` for no content, `UnsupportedImage` for any other.
    """
    if not content:
        raise UndecodableImage("the image is empty: expected the bytes of an image file")
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "TIFF"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    # Two letters prove little, so a bitmap's second header has to be one that exists.
    if content.startswith(b"BM") and int.from_bytes(content[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    raise UnsupportedImage(f"the content is none of the image formats taken: {', '.join(FORMATS)}")


def _load(kind: str, content: bytes, max_pixels: int, room: Room, grey_bits: int) -> Image:
    if kind == "WebP":
        check_pixels(_webp_size(content), max_pixels)
    with _OPENERS[kind](BytesIO(content)) as image:
        check_pixels(image.size, max_pixels)
        with room.taken(image.size) as kept:
            image.load()
            kept.append(upright(image, grey_bits))
        return kept[0]


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Raise `ImageTooLarge` for an image of too many pixels; `size` is (width, height)."""
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"an image may have {max_pixels} pixels, got {width} x {height} = {width * height}"
        )


def check_tiles(count: int, limits: ImageLimits) -> None:
    """Raise `ImageTooLarge` for an image that is cut into too many tiles."""
    if count > limits.max_tiles:
        raise ImageTooLarge(f"an image may take {limits.max_tiles} tiles, got {count}")


def _webp_size(content: bytes) -> tuple[int, int]:
    """Read width and height from a WebP's first chunk (RFC 9649, sections 2.5 to 2.7)."""
    if len(content) < _WEBP_HEADER:
        raise UndecodableImage(f"the WebP image ends after {len(content)} bytes, in its header")
    chunk = content[12:16]
    if chunk == b"VP8X":
        width, height = content[24:27], content[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width16, height16 = struct.unpack_from("<HH", content, 26)
        return width16 & 0x3FFF, height16 & 0x3FFF
    raise UndecodableImage(f"expected a WebP chunk VP8, VP8L or VP8X, got {chunk!r}")

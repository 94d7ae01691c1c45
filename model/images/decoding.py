"""Decode images from bytes or files: first the format, then the header, then the pixels.

The service, the client and the command line use this decoder. The content's first bytes decide the
format, not a file name or Content-Type. Limits on the header are checked before any pixel is
decoded; see `model.images.headers`.

    image = decode(content, DecodeLimits(max_pixels=50_000_000))
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import DecompressionBombWarning, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model.errors import ImageDamaged, ImageError, ImageFormatRefused, ImageOverLimit
from model.images.formats import foreign
from model.images.formats.numpy_file import NumpyFile
from model.images.formats.pnm import PnmFile
from model.images.formats.tiff_samples import open_tiff
from model.images.headers import bmp, jpeg, png, pnm, tiff, webp
from model.images.headers.declared import Declared
from model.images.orientation import SIDEWAYS, orientation_of
from model.images.preprocess import upright

logger = logging.getLogger("model.decoding")

# In addition to our limit: Pillow's warnings about decompression bombs become errors.
warnings.simplefilter("error", DecompressionBombWarning)
# Damaged EXIF is no reason to refuse an image; it counts as upright.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


@dataclass(frozen=True, slots=True)
class _Format:
    """A format: the reader of its header, and Pillow's class.

    Opening by class instead of `PIL.Image.open` allows only these formats and only our pixel limit.
    """

    declare: Callable[[bytes], Declared]
    open: Callable[[BytesIO], ImageFile]


_FORMATS = {
    "JPEG": _Format(jpeg.declare, JpegImageFile),
    "PNG": _Format(png.declare, PngImageFile),
    "BMP": _Format(bmp.declare, BmpImageFile),
    "TIFF": _Format(tiff.declare, open_tiff),
    "WebP": _Format(webp.declare, WebPImageFile),
    "PPM": _Format(pnm.declare, PnmFile),
}
FORMATS = tuple(_FORMATS)
_AFTER_PNM_KIND = frozenset({b" ", b"\n", b"\r", b"\t", b"#"})


_TILES_OVER_EDGE = 2
"""Limit of pixels in tiles, as a multiple of the image's; tiles may extend over its edges."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits for an image's pixels, its longer side, and the ratio of its sides.

    `max_scan_pixels` bounds a JPEG's pixels times its scans, because each scan covers all pixels.
    The defaults are for the user's files; a service sets lower limits.
    """

    max_pixels: int = 1_000_000_000
    max_side: int = 1_000_000
    max_aspect: int = 1_000_000
    max_scan_pixels: int = 10_000_000_000


OWN_FILES = DecodeLimits()
_own_files = OWN_FILES


def allow_pixels(count: int) -> None:
    """Set the pixel limit for the user's files in this process."""
    global _own_files  # noqa: PLW0603 - one limit for all files that a command reads
    _own_files = replace(OWN_FILES, max_pixels=count)


@dataclass(frozen=True, slots=True)
class Header:
    """An image file's format and declared size, within the limits."""

    kind: str
    declared: Declared


@dataclass(frozen=True, slots=True, eq=False)
class OpenImage:
    """An image within the limits, of which only the header is read."""

    header: Header
    nbytes: int
    image: ImageFile

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) of the upright image, before its pixels are loaded."""
        if isinstance(self.image, NumpyFile):
            return self.image.size
        with _damage(self.header.kind, self.nbytes):
            sideways = orientation_of(self.image) in SIDEWAYS
        declared = self.header.declared
        width, height = declared.width, declared.height
        return (height, width) if sideways else (width, height)

    def load(self) -> Image:
        """Decode the pixels and return the stored image. Raises `ImageDamaged`."""
        with _damage(self.header.kind, self.nbytes):
            self.image.load()
        return self.image

    def upright(self, grey_bits: int = 16) -> Image:
        """Return the loaded image upright and in 8 bits; see `model.images.preprocess.upright`.

        Raises `ImageError`.
        """
        with _damage(self.header.kind, self.nbytes):
            return upright(self.image, grey_bits)


def sniff(content: bytes) -> str:
    """Return the content's image format, one of `FORMATS`, by its first bytes.

    Raises `ImageDamaged` for no content, `ImageFormatRefused` for another format.
    """
    if not content:
        raise ImageDamaged("the image is empty: expected the bytes of an image file")
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "TIFF"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    # Two letters are weak evidence, so the second header's length must be valid as well.
    if content.startswith(b"BM") and int.from_bytes(content[14:18], "little") in bmp.HEADERS:
        return "BMP"
    if content[:2] in {b"P2", b"P3", b"P5", b"P6"} and content[2:3] in _AFTER_PNM_KIND:
        return "PPM"
    name = foreign.name_of(content)
    subject = f"{name} is" if name else "the content is"
    raise ImageFormatRefused(
        f"{subject} not a supported image format; supported: {', '.join(FORMATS)}"
    )


def read_header(content: bytes, limits: DecodeLimits) -> Header:
    """Return an image's format and declared size after checking the limits.

    Raises `ImageFormatRefused`, `ImageOverLimit` or `ImageDamaged`.
    """
    kind = sniff(content)
    declared = _FORMATS[kind].declare(content)
    check_size((declared.width, declared.height), limits)
    for count in declared.counts:
        if count.got > count.limit:
            raise ImageOverLimit(
                f"a {kind} image may have {count.limit} {count.name}, got {count.got} or more: "
                "save it again without metadata"
            )
    if declared.decoded_pixels > _TILES_OVER_EDGE * limits.max_pixels:
        raise ImageOverLimit(
            f"a {kind} image's tiles may have {_TILES_OVER_EDGE * limits.max_pixels} pixels, got "
            f"{declared.decoded_pixels}: save it with smaller tiles"
        )
    if declared.scan_pixels > limits.max_scan_pixels:
        raise ImageOverLimit(
            f"a JPEG's pixels times its scans may be {limits.max_scan_pixels}, got "
            f"{declared.scan_pixels}: save it as baseline JPEG, or as PNG"
        )
    return Header(kind, declared)


def check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    """Raise `ImageOverLimit` for a (width, height) of too many pixels or too long a side."""
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageOverLimit(
            f"an image may have {limits.max_pixels} pixels, got {width} x {height} = "
            f"{width * height}"
        )
    if max(size) > limits.max_side:
        raise ImageOverLimit(
            f"an image may be {limits.max_side} pixels wide or high, got {width} x {height}: "
            "cut it into parts"
        )
    if max(size) > limits.max_aspect * min(size):
        raise ImageOverLimit(
            f"an image's longer side may be {limits.max_aspect} times its shorter, got "
            f"{width} x {height}: cut it into parts"
        )


@contextmanager
def opened(
    content: bytes, limits: DecodeLimits, header: Header | None = None
) -> Iterator[OpenImage]:
    """Open an image within the limits; `header` is the result of `read_header`, if available.

    Raises `ImageFormatRefused`, `ImageOverLimit` or `ImageDamaged`.
    """
    header = header or read_header(content, limits)
    with _damage(header.kind, len(content)):
        image = _FORMATS[header.kind].open(BytesIO(content))
    with image:
        check_size(image.size, limits)  # Pillow may have read another of two headers
        yield OpenImage(header, len(content), image)


@contextmanager
def _damage(kind: str, nbytes: int) -> Iterator[None]:
    """Turn any exception of Pillow into `ImageDamaged`."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageOverLimit(
            f"not enough memory to decode the {kind} image: save it with fewer pixels"
        ) from error
    except Exception as error:
        logger.info("%s image of %d bytes: %r", kind, nbytes, error)
        raise ImageDamaged(
            f"the {kind} image of {nbytes} bytes is truncated or damaged: expected a complete "
            "image file"
        ) from error


def decode(content: bytes, limits: DecodeLimits) -> Image:
    """Return the decoded stored image, the first of several. Raises like `opened`."""
    with opened(content, limits) as image:
        return image.load()


def open_image(path: Path, limits: DecodeLimits | None = None) -> Image:
    """Return the decoded image of a file. Raises `ImageError`.

    The default limits are those for the user's files; see `allow_pixels`.
    """
    with opened_file(path, limits) as image:
        return image.load()


@contextmanager
def opened_file(path: Path, limits: DecodeLimits | None = None) -> Iterator[OpenImage]:
    """Open the image of a file, like `opened`. Raises `ImageError` with the file's name."""
    try:
        with opened(path.read_bytes(), limits or _own_files) as image:
            yield image
    except FileNotFoundError as error:
        raise ImageError(f"no image file {path}") from error
    except ImageOverLimit as error:
        hint = " (--max-pixels allows more)" if "pixels, got" in str(error) else ""
        raise ImageError(f"{path} is too large: {error}{hint}") from error
    except (ImageError, OSError) as error:
        raise ImageError(f"{path} is not a readable image: {error}") from error

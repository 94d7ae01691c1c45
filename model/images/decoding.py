"""Bytes or a file to an image: its format, then what it declares, then its pixels.

The one decoder of service, client and command line. The format is what the content begins with,
whatever a file name or Content-Type says. What the header declares is held against limits before
any pixel is decoded; see `model.images.headers`.

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

# Beside our own limit: where Pillow only warns of a bomb, it shall raise, in every thread.
warnings.simplefilter("error", DecompressionBombWarning)
# EXIF that is damaged or odd says nothing about the part: such an image is taken as upright.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


@dataclass(frozen=True, slots=True)
class _Format:
    """A format: what reads its header, and Pillow's class for it.

    Opened by class and not by `PIL.Image.open`: exactly these formats, and one pixel limit, ours.
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
"""How many times its pixels an image may have in tiles, which reach over its edges."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What an image may declare: pixels, its longer side, and that as a multiple of the shorter.

    `max_scan_pixels` bounds a JPEG's pixels times its scans, each of which goes over all of them.
    The defaults are for files of one's own; a service sets them lower.
    """

    max_pixels: int = 1_000_000_000
    max_side: int = 1_000_000
    max_aspect: int = 1_000_000
    max_scan_pixels: int = 10_000_000_000


OWN_FILES = DecodeLimits()
_own_files = OWN_FILES


def allow_pixels(count: int) -> None:
    """Let files of one's own have so many pixels, in this process."""
    global _own_files  # noqa: PLW0603 - one limit for all that a command reads
    _own_files = replace(OWN_FILES, max_pixels=count)


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file declares, within the limits."""

    kind: str
    declared: Declared


@dataclass(frozen=True, slots=True, eq=False)
class OpenImage:
    """An image within the limits: its header is read, its pixels are not."""

    header: Header
    nbytes: int
    image: ImageFile

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) as the image is meant to be seen, before its pixels are loaded."""
        if isinstance(self.image, NumpyFile):
            return self.image.size
        with _damage(self.header.kind, self.nbytes):
            sideways = orientation_of(self.image) in SIDEWAYS
        declared = self.header.declared
        width, height = declared.width, declared.height
        return (height, width) if sideways else (width, height)

    def load(self) -> Image:
        """Decode the pixels and return the image as it is stored. Raises `ImageDamaged`."""
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
    """Return the image format that the content begins like, one of `FORMATS`.

    Raises `ImageDamaged` for no content, `ImageFormatRefused` for any other.
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
    # Two letters prove little, so a bitmap's second header has to be one that exists.
    if content.startswith(b"BM") and int.from_bytes(content[14:18], "little") in bmp.HEADERS:
        return "BMP"
    if content[:2] in {b"P2", b"P3", b"P5", b"P6"} and content[2:3] in _AFTER_PNM_KIND:
        return "PPM"
    name = foreign.name_of(content)
    said = f"the content is {name}, which is" if name else "the content is"
    raise ImageFormatRefused(f"{said} none of the image formats taken: {', '.join(FORMATS)}")


def read_header(content: bytes, limits: DecodeLimits) -> Header:
    """Return the format of an image and what its header declares, which is within the limits.

    Raises `ImageFormatRefused`, `ImageOverLimit` or `ImageDamaged`.
    """
    kind = sniff(content)
    declared = _FORMATS[kind].declare(content)
    check_size((declared.width, declared.height), limits)
    for count in declared.counts:
        if count.got > count.limit:
            raise ImageOverLimit(
                f"a {kind} image may have {count.limit} {count.name}, got {count.got} or more: "
                "save it anew, without what is no image"
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
    """Open an image that is within the limits; `header` is that of `read_header`, where it is read.

    Raises `ImageFormatRefused`, `ImageOverLimit` or `ImageDamaged`.
    """
    header = header or read_header(content, limits)
    with _damage(header.kind, len(content)):
        image = _FORMATS[header.kind].open(BytesIO(content))
    with image:
        check_size(image.size, limits)  # of two headers, Pillow may have read the other
        yield OpenImage(header, len(content), image)


@contextmanager
def _damage(kind: str, nbytes: int) -> Iterator[None]:
    """Raise `ImageDamaged` for whatever Pillow raises, which is nearly anything."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageOverLimit(
            f"decoding the {kind} image takes more memory than there is for it: save it anew"
        ) from error
    except Exception as error:
        logger.info("%s image of %d bytes: %r", kind, nbytes, error)
        raise ImageDamaged(
            f"the {kind} image of {nbytes} bytes is truncated or damaged: expected a complete "
            "image file"
        ) from error


def decode(content: bytes, limits: DecodeLimits) -> Image:
    """Return the image as it is stored, decoded; the first where there are several.

    Raises as `opened`.
    """
    with opened(content, limits) as found:
        return found.load()


def open_image(path: Path, limits: DecodeLimits | None = None) -> Image:
    """Return the decoded image of a file. Raises `ImageError` where it is not a whole image.

    The limits are those of files of one's own; see `allow_pixels`.
    """
    with opened_file(path, limits) as found:
        return found.load()


@contextmanager
def opened_file(path: Path, limits: DecodeLimits | None = None) -> Iterator[OpenImage]:
    """Open the image of a file, as `opened` does. Raises `ImageError`, which names the file."""
    try:
        with opened(path.read_bytes(), limits or _own_files) as found:
            yield found
    except FileNotFoundError as error:
        raise ImageError(f"no image file {path}") from error
    except ImageOverLimit as error:
        hint = " (--max-pixels allows more)" if "pixels, got" in str(error) else ""
        raise ImageError(f"{path} is too large: {error}{hint}") from error
    except (ImageError, OSError) as error:
        raise ImageError(f"{path} is not a readable image: {error}") from error

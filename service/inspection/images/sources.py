"""Encoded images as clients send them: a file, or base64 of one."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL.Image import Image

from service.errors import BodyTooLarge, UndecodableImage
from service.inspection.images.png import STORED, write_png


@dataclass(frozen=True, slots=True)
class Upload:
    """One posted image file."""

    filename: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Base64Upload:
    """The base64 of one posted image file, from JSON."""

    filename: str | None
    text: bytes | memoryview

    @property
    def size(self) -> int:
        """The bytes of the decoded file."""
        return len(self.text) // 4 * 3 - bytes(self.text[-2:]).count(b"=")

    def decode(self, max_bytes: int) -> bytes:
        """Return the file. Raises `BodyTooLarge` before decoding, or `UndecodableImage`."""
        if self.size > max_bytes:
            raise BodyTooLarge(f"an image may have at most {max_bytes} bytes, got {self.size}")
        try:
            return base64.b64decode(self.text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UndecodableImage(
                f"the image's content is not base64: {_fault(self.text)}"
            ) from error


def data_url(text: bytes | memoryview) -> str | None:
    """Return the prefix of a `data:` URL before the base64, or None."""
    prefix = _DATA_URL.match(text[:_LONGEST_PREFIX])
    return prefix and prefix[0].decode("ascii")


def _fault(text: bytes | memoryview) -> str:
    prefix = data_url(text)
    if prefix is not None:
        return f"it begins with {prefix!r}: send only the text after the comma"
    return "expected RFC 4648 with padding and without line breaks"


_LONGEST_PREFIX = 100
_DATA_URL = re.compile(rb"\s*data:[!-+\--~]*,", re.IGNORECASE)

Source: TypeAlias = Upload | Base64Upload

_NO_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The SHA-256 of an image's file, in hex, and its bytes."""

    sha256: str
    nbytes: int


def content_of(source: Source | Image) -> bytes:
    """Return an image's file as it came; pixels from a tensor become an uncompressed PNG.

    Raises `UndecodableImage` if it is not base64.
    """
    if isinstance(source, Upload):
        return source.content
    if isinstance(source, Base64Upload):
        return source.decode(_NO_LIMIT)
    grey_or_rgb = source if source.mode in {"L", "RGB"} else source.convert("RGB")
    return write_png(np.asarray(grey_or_rgb), STORED)


def size_of(source: Source | Image) -> int:
    """Return the bytes of an image's file, or of its pixels."""
    if isinstance(source, Image):
        return 3 * source.width * source.height
    return len(source.content) if isinstance(source, Upload) else source.size


def fingerprint_of(content: bytes) -> Fingerprint:
    """Return the fingerprint of an image's file."""
    return Fingerprint(hashlib.sha256(content).hexdigest(), len(content))

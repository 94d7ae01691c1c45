"""An image as it comes: encoded, and perhaps in base64."""

import base64
import binascii
from dataclasses import dataclass
from typing import TypeAlias

from service.errors import BodyTooLarge, UndecodableImage


@dataclass(frozen=True, slots=True)
class Upload:
    """One posted image file."""

    filename: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Base64Upload:
    """One posted image file, in base64 as JSON carries it."""

    filename: str | None
    text: str

    @property
    def size(self) -> int:
        """How many bytes the text stands for."""
        return len(self.text) // 4 * 3 - self.text[-2:].count("=")

    def decode(self, max_bytes: int) -> bytes:
        """Return the file. Raises `BodyTooLarge`, with nothing decoded, or `UndecodableImage`."""
        if self.size > max_bytes:
            raise BodyTooLarge(f"an image may have {max_bytes} bytes, got {self.size}")
        try:
            return base64.b64decode(self.text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UndecodableImage(
                "the image's content is not base64: expected RFC 4648's letters, padded and "
                "without line breaks"
            ) from error


Source: TypeAlias = Upload | Base64Upload

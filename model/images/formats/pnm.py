"""PNM: PGM and PPM, as text (P2, P3) or in bytes (P5, P6), with any maximum value."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.errors import ImageDamaged
from model.images.formats.depths import high_bytes
from model.images.formats.numpy_file import NumpyFile
from model.images.headers.pnm import Header, read_header

_DEEPEST = 65535
_TEXT = b"0123456789 \t\n\v\f\r"
_BATCH = 2**21


class PnmFile(NumpyFile):
    """A PGM or PPM: "L" or "RGB", or "I;16" for a maximum value of 65535."""

    format = "PPM"
    format_description = "Netpbm"

    def _read_header(
        self, content: bytes
    ) -> tuple[tuple[int, int], str, Callable[[], Image.Image]]:
        header = read_header(content)
        mode = "RGB" if header.channels == 3 else "I;16" if header.most == _DEEPEST else "L"
        return (header.width, header.height), mode, _Samples(content, header, mode).decode


@dataclass(frozen=True, slots=True)
class _Samples:
    content: bytes
    header: Header
    mode: str

    def decode(self) -> Image.Image:
        header = self.header
        values = self._text() if header.is_text else self._bytes()
        if len(values) != header.samples:
            raise ImageDamaged(
                f"the PGM or PPM ends after {len(values)} of its {header.samples} samples: "
                "expected all of them"
            )
        kind = np.uint16 if self.mode == "I;16" else np.uint8
        pixels = np.empty(header.samples, kind)
        for at in range(0, header.samples, _BATCH):
            batch = values[at : at + _BATCH]
            if batch.max() > header.most:
                raise ImageDamaged(
                    f"a sample of the PGM or PPM is {batch.max()}, above the maximum "
                    f"{header.most} in its header"
                )
            deep = self.mode == "I;16"
            pixels[at : at + _BATCH] = batch if deep else high_bytes(batch, header.most)
        shape = (header.height, header.width, header.channels)
        return Image.fromarray(pixels.reshape(shape if header.channels > 1 else shape[:2]))

    def _bytes(self) -> np.ndarray:
        """Return the samples; with a maximum above 255 they have two bytes, big-endian."""
        kind = np.dtype(">u2") if self.header.most > 255 else np.dtype(np.uint8)
        available = (len(self.content) - self.header.at) // kind.itemsize
        count = min(available, self.header.samples)
        return np.frombuffer(self.content, kind, count, self.header.at)

    def _text(self) -> np.ndarray:
        body = self.content[self.header.at :]
        if b"#" in body:
            body = b"\n".join(line.partition(b"#")[0] for line in body.split(b"\n"))
        if body.translate(None, _TEXT):
            raise ImageDamaged("a PGM or PPM as text may have only numbers, got other characters")
        values = np.fromstring(body, np.float64, sep=" ")
        return values[: self.header.samples].astype(np.uint32)

"""A Pillow image file decoded by NumPy: the header when opened, the pixels on `load`."""

from abc import abstractmethod
from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile


class NumpyFile(ImageFile):
    """Base of our readers, opened on a `BytesIO`."""

    _decode: Callable[[], Image.Image] | None = None

    def _open(self) -> None:
        assert isinstance(self.fp, BytesIO)
        self._size, self._mode, self._decode = self._read_header(self.fp.getvalue())

    @abstractmethod
    def _read_header(
        self, content: bytes
    ) -> tuple[tuple[int, int], str, Callable[[], Image.Image]]:
        """Return (width, height), Pillow's mode, and a function that decodes the pixels."""

    def load(self) -> Any:  # noqa: ANN401 - Pillow's access to pixels
        """Decode the pixels, once."""
        if self._decode is not None:
            self.im = self._decode().im
            self._decode = None
        return super().load()

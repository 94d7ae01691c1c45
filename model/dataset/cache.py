"""A disk cache of resized images, keyed by content.

    <folder>/<two letters>/<sha256>.npy     uint8 (3, h, w), memory-mapped on reading

The key is the digest of the image file's bytes and of the preprocessing that affects its pixels.
Runs may share a folder, and it can be deleted at any time.
"""

import contextlib
import hashlib
import logging
import secrets
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from model.errors import ImageError
from model.images.decoding import open_image
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize

logger = logging.getLogger(__name__)

_FORM = 1
"""Version of the pixels: increase it when the same preprocessing gives different pixels."""


class PixelCache:
    """Reads images on their canvas, before they are cut (see `model.images.framing`).

    Without a `folder`, nothing is cached. If the disk rejects a write, this is logged once and
    nothing more is cached.
    """

    def __init__(self, preprocessing: Preprocessing, folder: Path | None = None) -> None:
        self._preprocessing = preprocessing
        self._folder = folder
        self._rule = repr((_FORM, preprocessing.pixels_key)).encode()

    @property
    def keeps(self) -> bool:
        """Whether a folder caches images."""
        return self._folder is not None

    def read(self, path: Path) -> UInt8[np.ndarray, "3 h w"]:
        """Return an image's pixels; no other code modifies them. Raises `ImageError`."""
        if self._folder is None:
            return self._decoded(path)
        file = self._file(self._folder, path)
        cached = _mapped(file)
        if cached is not None:
            return cached
        pixels = self._decoded(path)
        self._keep(file, pixels)
        return pixels

    def _decoded(self, path: Path) -> UInt8[np.ndarray, "3 h w"]:
        image = self._preprocessing.upright(open_image(path))
        return self._preprocessing.frame(ImageSize(image.height, image.width)).pixels(image)

    def _file(self, folder: Path, path: Path) -> Path:
        digest = hashlib.sha256(self._rule)
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise ImageError(f"cannot read the image file {path}: {error}") from error
        name = digest.hexdigest()
        return folder / name[:2] / f"{name[2:]}.npy"

    def _keep(self, file: Path, pixels: UInt8[np.ndarray, "3 h w"]) -> None:
        """Write a temporary file and rename it, so that readers never see a partial file."""
        writing = file.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with writing.open("wb") as opened:
                np.save(opened, pixels)
            writing.replace(file)
        except OSError as error:
            with contextlib.suppress(OSError):
                writing.unlink(missing_ok=True)
            logger.warning("caching of images in %s stops: %s", self._folder, error)
            self._folder = None


def _mapped(file: Path) -> UInt8[np.ndarray, "3 h w"] | None:
    """Return a file's array, memory-mapped copy-on-write; None if it is missing or damaged."""
    try:
        mapped = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_image = mapped.dtype == np.uint8 and mapped.ndim == 3 and len(mapped) == 3
    return np.asarray(mapped) if is_image else None

"""Images resized once and kept on disk, under a name made of their content.

    <folder>/<two letters>/<sha256>.npy     uint8 (3, h, w), mapped into memory when it is read

The name is the digest of the image file's bytes and of all that its pixels depend on in the
preprocessing: a file that changes, or another size, is another entry, and the same image in two
folders is one. Runs may share a folder; it can be deleted at any time.
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
"""Raised whenever the same preprocessing comes to mean other pixels."""


class PixelCache:
    """Reads images as they lie on their canvas, before they are cut (see `model.images.framing`).

    Without a `folder` nothing is kept. Where the disk refuses to keep more, that is logged once,
    and images are decoded each time.
    """

    def __init__(self, preprocessing: Preprocessing, folder: Path | None = None) -> None:
        self._preprocessing = preprocessing
        self._folder = folder
        self._rule = repr((_FORM, preprocessing.pixels_key)).encode()

    @property
    def keeps(self) -> bool:
        """Whether there is a folder."""
        return self._folder is not None

    def read(self, path: Path) -> UInt8[np.ndarray, "3 h w"]:
        """Return an image's pixels, that nobody else changes. Raises `ImageError`."""
        if self._folder is None:
            return self._decoded(path)
        file = self._file(self._folder, path)
        kept = _mapped(file)
        if kept is not None:
            return kept
        pixels = self._decoded(path)
        self._keep(file, pixels)
        return pixels

    def _decoded(self, path: Path) -> UInt8[np.ndarray, "3 h w"]:
        image = self._preprocessing.upright(open_image(path))
        return self._preprocessing.frame(ImageSize(image.height, image.width)).pixels(image)

    def _file(self, folder: Path, path: Path) -> Path:
        found = hashlib.sha256(self._rule)
        try:
            found.update(path.read_bytes())
        except OSError as error:
            raise ImageError(f"no image file {path}: {error}") from error
        name = found.hexdigest()
        return folder / name[:2] / f"{name[2:]}.npy"

    def _keep(self, file: Path, pixels: UInt8[np.ndarray, "3 h w"]) -> None:
        """Write beside the place and rename: whoever reads meanwhile finds all of it or nothing."""
        writing = file.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with writing.open("wb") as opened:
                np.save(opened, pixels)
            writing.replace(file)
        except OSError as error:
            with contextlib.suppress(OSError):
                writing.unlink(missing_ok=True)
            logger.warning("nothing more is cached in %s: %s", self._folder, error)
            self._folder = None


def _mapped(file: Path) -> UInt8[np.ndarray, "3 h w"] | None:
    """Return what a file holds, copied where it is read; None where it is not there or damaged."""
    try:
        mapped = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = mapped.dtype == np.uint8 and mapped.ndim == 3 and len(mapped) == 3
    return np.asarray(mapped) if whole else None

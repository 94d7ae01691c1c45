"""Identify the test data: one digest over the names and bytes of images and masks.

It is the SHA-256 of the lines that `sha256sum` prints for the files, sorted by name, so that
anybody can check it without this program.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.dataset import Sample
from model.errors import ImageError
from model.evaluation.score_files import relative_name
from model.images.files import images_in_folder

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """The digest of the test data, and the number of its images and masks."""

    sha256: str
    images: int
    masks: int

    def text(self) -> str:
        """Return digest and counts as one line."""
        masks = f" and {self.masks} masks" if self.masks else ""
        return f"sha256 {self.sha256}, of {self.images} images{masks}"


def identify(samples: Iterable[Sample], data: Path) -> DataIdentity:
    """Read all images and masks; raises `ImageError` for a file that cannot be read."""
    images, masks = set(), set()
    for sample in samples:
        images.add(sample.path)
        if sample.mask is not None:
            masks |= set(images_in_folder(sample.mask) if sample.mask.is_dir() else [sample.mask])
    named = {relative_name(path, data): path for path in images | masks}
    lines = hashlib.sha256()
    for name in sorted(named, key=_bytes):
        lines.update(_line(_digest(named[name]), _bytes(name)))
    return DataIdentity(lines.hexdigest(), len(images), len(masks - images))


def _line(digest: str, name: bytes) -> bytes:
    """Return the line that `sha256sum` prints; it begins with a backslash for an escaped name."""
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"" if escaped == name else b"\\"
    return mark + digest.encode() + b"  " + escaped + b"\n"


def _digest(path: Path) -> str:
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                whole.update(chunk)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error}") from error
    return whole.hexdigest()


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")

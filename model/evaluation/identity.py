"""Identify the test data: one digest over the names and bytes of images and masks.

It is the SHA-256 of the lines that `sha256sum` prints for the files, sorted by name, so that
anybody can check it without this program.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.dataset import Sample
from model.errors import ImageError
from model.evaluation.score_files import relative_name
from model.images.files import images_in_folder
from model.inspection import Category

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """The digest of the test data, and the number of its images and masks."""

    sha256: str
    images: int
    masks: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def text(self) -> str:
        """Return digest and counts as one line."""
        masks = f" and {self.masks} masks" if self.masks else ""
        return f"sha256 {self.sha256}, of {self.images} images{masks}"


Digests = dict[Path, str]
"""The SHA-256 of files that have been read."""


def identify(samples: Iterable[Sample], data: Path, digests: Digests | None = None) -> DataIdentity:
    """Read all images and masks; raises `ImageError` for a file that cannot be read.

    `digests` has files that need not be read again, and gets those that were read.
    """
    read = {} if digests is None else digests
    images, masks = set(), set()
    for sample in samples:
        images.add(sample.path)
        if sample.mask is not None:
            masks |= set(images_in_folder(sample.mask) if sample.mask.is_dir() else [sample.mask])
    named = {relative_name(path, data): path for path in images | masks}
    lines = hashlib.sha256()
    for name in sorted(named, key=_bytes):
        path = named[name]
        if path not in read:
            read[path] = _digest(path)
        lines.update(_line(read[path], _bytes(name)))
    return DataIdentity(lines.hexdigest(), len(images), len(masks - images))


def identify_categories(
    samples: Sequence[Sample], data: Path, digests: Digests
) -> dict[Category, DataIdentity]:
    """Return the identity of each category's images; see `identify`."""
    categories = sorted({sample.category for sample in samples})
    return {
        category: identify([s for s in samples if s.category == category], data, digests)
        for category in categories
    }


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

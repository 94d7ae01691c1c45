"""The folders and file names of the archive's media.

    <folder>/<YYYY-MM-DD>/<first two hex>/<sha256>.<suffix>     an image: png, jpg, ...
    <folder>/<YYYY-MM-DD>/<first two hex>/<sha256>.map.png      a raw map

The day is the UTC date of the inspection's `received_at`. Links are never followed.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from model.errors import ImageError
from model.images.decoding import sniff

MAP_SUFFIX = "map.png"
IMAGE_SUFFIXES = ("png", "jpg", "bmp", "tif", "webp", "ppm", "bin")
"""The suffixes of images, by content; `bin` is content of no supported image format."""
ORPHANS = "orphans"
"""The folder beside the days to which `mambaad archive check --repair` moves files."""

_SUFFIX_OF_FORMAT = {
    "PNG": "png", "JPEG": "jpg", "BMP": "bmp", "TIFF": "tif", "WebP": "webp", "PPM": "ppm",
}  # fmt: skip
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PREFIX = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(rf"([0-9a-f]{{64}})\.({'|'.join(IMAGE_SUFFIXES)}|map\.png)")
_STAGED = re.compile(rf"\.({_NAME.pattern})\.[0-9a-f]{{16}}")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file of the archive's media. `modified_s` is in seconds since 1970."""

    path: Path
    day: date
    sha256: str
    suffix: str
    nbytes: int
    modified_s: float

    @property
    def is_map(self) -> bool:
        """Whether this is a raw map."""
        return self.suffix == MAP_SUFFIX


@dataclass(frozen=True, slots=True)
class Stray:
    """An entry of the media folder that is no image or raw map.

    `staged_for` is the path of the file that a put did not finish, or has not finished yet.
    """

    path: Path
    staged_for: Path | None = None


def suffix_of(content: bytes) -> str:
    """Return the suffix of an image's file, by its first bytes.

    >>> suffix_of(b"BM"), suffix_of(bytes.fromhex("ffd8ffe0"))
    ('bin', 'jpg')
    """
    try:
        return _SUFFIX_OF_FORMAT[sniff(content)]
    except ImageError:
        return "bin"


def path_in(folder: Path, sha256: str, day: date, suffix: str) -> Path:
    """Return the path of a file, whether it exists or not."""
    assert len(sha256) == 64, sha256
    return folder / day.isoformat() / sha256[:2] / f"{sha256}.{suffix}"


def days_in(folder: Path) -> list[date]:
    """Return the days that have a folder, oldest first; links are left out."""
    names = [entry.name for entry in _entries(folder) if _is_folder(entry)]
    return sorted(day for name in names if (day := _day_of(name)) is not None)


def files_in(folder: Path) -> Iterator[MediaFile | Stray]:
    """Yield every file, days in order, and every entry that is no file of the archive's.

    Files that appear or disappear meanwhile may be yielded or not.
    """
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        if entry.name == ORPHANS and _is_folder(entry):
            continue
        day = _day_of(entry.name)
        if day is None or not _is_folder(entry):
            yield Stray(Path(entry.path))
            continue
        for prefix in _entries(entry.path):
            if _PREFIX.fullmatch(prefix.name) and _is_folder(prefix):
                yield from _files_of(prefix, day)
            else:
                yield Stray(Path(prefix.path))


def remove_empty_folders(folder: Path, day: date) -> None:
    """Remove a day's folders that are empty, and the day if all are."""
    of_day = folder / day.isoformat()
    if of_day.is_symlink():
        return
    for entry in _entries(of_day):
        if _is_folder(entry):
            with suppress(OSError):
                Path(entry.path).rmdir()
    with suppress(OSError):
        of_day.rmdir()


def _files_of(prefix: "os.DirEntry[str]", day: date) -> Iterator[MediaFile | Stray]:
    for entry in _entries(prefix.path):
        path, match = Path(entry.path), _NAME.fullmatch(entry.name)
        try:
            status = entry.stat(follow_symlinks=False)
            is_file = entry.is_file(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if match and is_file and match[1].startswith(prefix.name):
            yield MediaFile(path, day, match[1], match[2], status.st_size, status.st_mtime)
        else:
            yield Stray(path, _staged_for(path) if is_file else None)


def _staged_for(path: Path) -> Path | None:
    match = _STAGED.fullmatch(path.name)
    return path.with_name(match[1]) if match else None


def _entries(folder: Path | str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    return entry.is_dir(follow_symlinks=False)


def _day_of(name: str) -> date | None:
    if not _DAY.fullmatch(name):
        return None
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None

"""Image files below a folder: found whatever the depth, and everything else listed with a reason.

found = walk(Path("line-3"))
found.images        [Path("good/2026-11-03/0001.png"), ...], below the folder, sorted
found.passed_over   [Passed(Path("good/0002.png"), "links that lead nowhere"), ...]
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

IMAGE_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
    ".pbm", ".pnm",
})  # fmt: skip

SYSTEM = "files left by an operating system or a program"
HIDDEN = "hidden files and folders"
OTHER = "files that are no images"
UNREAD = "pictures in a format that is not read here"
DANGLING = "links that lead nowhere: missing images"
LOOP = "links back to a folder above"
CLOSED = "folders that may not be read"
DEEP = "folders below more than 30 others"
HARMLESS = frozenset({SYSTEM, HIDDEN, OTHER, LOOP})
"""Reasons that nobody has to act on."""

_SYSTEM_NAMES = frozenset({
    ".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "#recycle",
    "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", ".picasa.ini", "icon\r", ".spotlight-v100", ".trashes", ".fseventsd",
})  # fmt: skip
_OTHER_PICTURES = frozenset({
    ".gif", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".jxr", ".tga", ".dcm", ".raw",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".exr", ".hdr", ".psd", ".mp4", ".avi", ".mov", ".npy",
    ".svg", ".pcx", ".xcf", ".dib",
})  # fmt: skip
_DEEPEST = 30


@dataclass(frozen=True, slots=True)
class Passed:
    """A file or folder that is not read, below the folder that was walked, and why."""

    path: Path
    reason: str


@dataclass(slots=True)
class Found:
    """What lies below a folder; `bare` are folders without images and without folders."""

    images: list[Path] = field(default_factory=list)
    passed_over: list[Passed] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    bare: list[Path] = field(default_factory=list)


def is_system_file(name: str) -> bool:
    """Whether operating systems and programs leave files or folders of this name."""
    return name.casefold() in _SYSTEM_NAMES or name.startswith("._")


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as an image's does, in capitals or not."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def is_there(path: Path, *, file: bool = False) -> bool:
    """Whether a path leads to something, or to a file; a name too long for the disk does not."""
    try:
        return path.is_file() if file else path.exists()
    except OSError:
        return False


def walk(root: Path) -> Found:
    """Find the images below a folder; links are followed, but none back to where it came from."""
    found = Found()
    _enter(root, Path(), (), found)
    found.images.sort()
    found.folders.sort()
    return found


def _enter(root: Path, below: Path, above: tuple[tuple[int, int], ...], found: Found) -> None:
    """Look into one folder; `above` are the folders that it lies in, as the disk knows them."""
    folder = root / below
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        found.passed_over.append(Passed(below, CLOSED))
        return
    own = (status.st_dev, status.st_ino)
    if own in above or len(above) > _DEEPEST:
        found.passed_over.append(Passed(below, LOOP if own in above else DEEP))
        return
    found.folders.append(below)
    images = [below / entry.name for entry in entries if _is_image(entry, below, found)]
    inner = [entry.name for entry in entries if _is_folder(entry)]
    found.images += images
    if not images and not inner:
        found.bare.append(below)
    for name in inner:
        _enter(root, below / name, (*above, own), found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and not is_system_file(entry.name) and _leads(entry, True)


def _is_image(entry: os.DirEntry[str], below: Path, found: Found) -> bool:
    """Whether it is an image file; says why not where it is no folder either."""
    reason = _why_not(entry)
    if reason is not None:
        found.passed_over.append(Passed(below / entry.name, reason))
    return reason is None and not _leads(entry, True)


def _why_not(entry: os.DirEntry[str]) -> str | None:
    """Return why a file or folder is passed over; None for an image file and for a folder."""
    if is_system_file(entry.name):
        return SYSTEM
    if entry.name.startswith("."):
        return HIDDEN
    if _leads(entry, True):
        return None
    suffix = Path(entry.name).suffix.lower()
    if entry.is_symlink() and not _leads(entry, False):
        return DANGLING
    if suffix in IMAGE_SUFFIXES and _leads(entry, False):
        return None
    return UNREAD if suffix in _OTHER_PICTURES else OTHER


def _leads(entry: os.DirEntry[str], to_folder: bool) -> bool:
    """Whether an entry is a folder, or a file, or a link to one."""
    try:
        return entry.is_dir() if to_folder else entry.is_file()
    except OSError:  # a link to itself
        return False


def images_in_folder(folder: Path) -> Iterator[Path]:
    """Yield the image files directly in a folder, in order of name."""
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".") or is_system_file(path.name)
        if not hidden and is_image_name(path.name) and path.is_file():
            yield path

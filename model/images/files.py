"""Find image files below a folder, and list all other files with a reason.

files = walk(Path("line-3"))
files.images        [Path("good/2026-11-03/0001.png"), ...], relative to the folder, sorted
files.passed_over   [Passed(Path("good/0002.png"), "broken links: missing images"), ...]
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

IMAGE_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
    ".pbm", ".pnm",
})  # fmt: skip

SYSTEM = "files of an operating system or a program"
HIDDEN = "hidden files and folders"
OTHER = "files that are not images"
UNREAD = "images in an unsupported format"
DANGLING = "broken links: missing images"
LOOP = "links back to a folder above"
CLOSED = "unreadable folders"
DEEP = "folders nested more than 30 levels deep"
HARMLESS = frozenset({SYSTEM, HIDDEN, OTHER, LOOP})
"""Reasons that need no action."""

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
    """A skipped file or folder, relative to the walked folder, and the reason."""

    path: Path
    reason: str


@dataclass(slots=True)
class Found:
    """The content of a folder; `bare` are folders without images and without folders."""

    images: list[Path] = field(default_factory=list)
    passed_over: list[Passed] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    bare: list[Path] = field(default_factory=list)


def is_system_file(name: str) -> bool:
    """Whether operating systems or programs create files or folders of this name."""
    return name.casefold() in _SYSTEM_NAMES or name.startswith("._")


def is_image_name(name: str) -> bool:
    """Whether a file's name has an image's suffix, in any case."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def is_there(path: Path, *, file: bool = False) -> bool:
    """Whether a path exists, or is a `file`; False for a name that is too long for the disk."""
    try:
        return path.is_file() if file else path.exists()
    except OSError:
        return False


def walk(root: Path) -> Found:
    """Find the images below a folder; follows links, except back to a folder above."""
    files = Found()
    _enter(root, Path(), (), files)
    files.images.sort()
    files.folders.sort()
    return files


def _enter(root: Path, below: Path, above: tuple[tuple[int, int], ...], files: Found) -> None:
    """Read one folder; `above` are the device and inode numbers of the folders above it."""
    folder = root / below
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        files.passed_over.append(Passed(below, CLOSED))
        return
    inode = (status.st_dev, status.st_ino)
    if inode in above or len(above) > _DEEPEST:
        files.passed_over.append(Passed(below, LOOP if inode in above else DEEP))
        return
    files.folders.append(below)
    images = [below / entry.name for entry in entries if _is_image(entry, below, files)]
    inner = [entry.name for entry in entries if _is_folder(entry)]
    files.images += images
    if not images and not inner:
        files.bare.append(below)
    for name in inner:
        _enter(root, below / name, (*above, inode), files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and not is_system_file(entry.name) and _leads(entry, True)


def _is_image(entry: os.DirEntry[str], below: Path, files: Found) -> bool:
    """Whether the entry is an image file; records the reason if it is skipped."""
    reason = _why_not(entry)
    if reason is not None:
        files.passed_over.append(Passed(below / entry.name, reason))
    return reason is None and not _leads(entry, True)


def _why_not(entry: os.DirEntry[str]) -> str | None:
    """Return why a file or folder is skipped; None for an image file or a folder."""
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

"""What lies in a folder: images, folders, and a listing for messages."""

from collections.abc import Sequence
from pathlib import Path

from model.errors import DatasetError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
MASK_ENDINGS = ("", "_mask", "_gt", "_GT")
"""What may follow an image's stem in the name of its mask."""


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, but for hidden ones, in order of name."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder, but for hidden ones, in order of name."""
    if not folder.is_dir():
        return []
    seen = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in seen if p.suffix.lower() in IMAGE_SUFFIXES)


def images_in(folder: Path) -> list[Path]:
    """Return the image files in a folder; raises `DatasetError` when there are none."""
    images = image_files(folder)
    if not images:
        raise DatasetError(
            f"no images in {folder}: found {listing(folder)}, "
            f"expected {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return images


def masks_for(folder: Path, images: Sequence[Path]) -> dict[Path, Path]:
    """Return each image's mask: a file, or a folder of files, of its name.

    Not every image needs one; that none of a folder of masks fits is a `DatasetError`.
    """
    files = {path.stem: path for path in image_files(folder)}
    files |= {path.name: path for path in folders_in(folder) if image_files(path)}
    found = {
        image: files[image.stem + ending]
        for image in images
        for ending in MASK_ENDINGS
        if image.stem + ending in files
    }
    if files and images and not found:
        raise DatasetError(
            f"none of the {len(files)} masks in {folder} belongs to an image: expected "
            f"{images[0].stem}_mask.png or {images[0].stem}.png, ..., found {listing(folder)}"
        )
    return found


def listing(folder: Path, limit: int = 8) -> str:
    """Name the first few things in a folder."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "nothing"

"""A folder's content: folders, images, and a listing for messages."""

from pathlib import Path

from model.images.files import images_in_folder, is_system_file


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, except hidden ones, in order of name."""
    if not folder.is_dir():
        return []
    seen = (p for p in folder.iterdir() if not (p.name.startswith(".") or is_system_file(p.name)))
    return sorted(path for path in seen if path.is_dir())


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder, except hidden ones, in order of name."""
    return list(images_in_folder(folder)) if folder.is_dir() else []


def listing(folder: Path, limit: int = 8) -> str:
    """Name the first few entries of a folder."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir())
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "nothing"

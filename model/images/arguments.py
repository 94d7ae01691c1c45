"""Expand a command line's image arguments (files, folders, patterns) and name output files.

images = named_images([Path("shots/test"), Path("more/*.png")])
picture_files(images, Path("heatmaps"))     heatmaps/NG/000.png, heatmaps/good/000.png, ...
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import ImageError
from model.images.files import is_image_name, is_system_file, walk

_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image's path, and its part below the given folder or pattern.

    `below` is None for a file that was given directly.
    """

    path: Path
    below: Path | None = None


def named_images(arguments: Iterable[Path]) -> list[NamedImage]:
    """Return the images of files, folders (recursively) and patterns, in order.

    Files are accepted with any ending, even if they do not exist. Raises `ImageError` for a folder
    without images and a pattern without matches.
    """
    return [image for argument in arguments for image in _named(argument)]


def _named(argument: Path) -> list[NamedImage]:
    if argument.is_dir():
        images = [NamedImage(argument / below, below) for below in walk(argument).images]
        if not images:
            raise ImageError(f"no images in the folder {argument}")
        return images
    if _WILD.isdisjoint(str(argument)) or argument.exists():
        return [NamedImage(argument)]
    parts = argument.parts
    first = next(number for number, part in enumerate(parts) if not _WILD.isdisjoint(part))
    base, pattern = Path(*parts[:first]), str(Path(*parts[first:]))
    matches = sorted(path for path in base.glob(pattern) if _is_image(path))
    if not matches:
        raise ImageError(f"no image matches {argument}: expected files such as part.png")
    return [NamedImage(path, path.relative_to(base)) for path in matches]


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".") or is_system_file(path.name)
    return path.is_file() and is_image_name(path.name) and not hidden


def picture_files(images: Sequence[NamedImage], output: Path) -> dict[Path, Path]:
    """Return a unique PNG file below `output` for each image.

    Images of a folder keep their subfolders. Files that were given directly keep only their names,
    or, if two are equal, the folders below their common one. Raises `ImageError` if a picture would
    overwrite its image or another picture.
    """
    named = _apart([image.path for image in images if image.below is None])
    below = {image.path: image.below or named[image.path] for image in images}
    plain = {path: place.with_name(f"{place.stem}.png") for path, place in below.items()}
    often = Counter(plain.values())
    files = {
        path: output / (place if often[place] == 1 else below[path].with_name(f"{path.name}.png"))
        for path, place in plain.items()
    }
    taken: dict[Path, Path] = {}
    for path, file in files.items():
        other = taken.setdefault(file, path)
        if other != path:
            raise ImageError(f"{other} and {path} would both be written to {file}")
        if file.exists() and path.exists() and file.samefile(path):
            raise ImageError(f"{file} would overwrite the image itself: choose another --output")
    return files


def _apart(paths: Sequence[Path]) -> dict[Path, Path]:
    """Return the files' names, or paths below the common folder if two names are equal."""
    different = list(dict.fromkeys(paths))
    if len({path.stem for path in different}) == len(different):
        return {path: Path(path.name) for path in different}
    absolute = {path: Path(os.path.abspath(path)) for path in different}  # noqa: PTH100 (no links)
    common = Path(os.path.commonpath([path.parent for path in absolute.values()]))
    return {path: file.relative_to(common) for path, file in absolute.items()}

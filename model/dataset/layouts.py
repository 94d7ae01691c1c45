"""Detect a folder's layout and read its images."""

from collections.abc import Iterable
from pathlib import Path

from model.dataset.readers.ader import ADER
from model.dataset.readers.folders import listing
from model.dataset.readers.lists import LIST
from model.dataset.readers.lookout import LOOKOUT
from model.dataset.readers.mvtec import BTAD, MVTEC
from model.dataset.readers.mvtec_3d import MVTEC_3D
from model.dataset.readers.mvtec_loco import MVTEC_LOCO
from model.dataset.readers.plain import FOLDERS, PLAIN
from model.dataset.readers.real_iad import REAL_IAD
from model.dataset.readers.request import Layout, Request
from model.dataset.readers.visa import VISA
from model.dataset.sample import Dataset
from model.errors import DatasetError
from model.images.files import is_there
from model.inspection import Category
from model.words import Words

LAYOUTS: tuple[Layout, ...] = (
    LOOKOUT,
    ADER,
    VISA,
    REAL_IAD,
    LIST,
    MVTEC_3D,
    MVTEC_LOCO,
    BTAD,
    MVTEC,
    PLAIN,
    FOLDERS,
)
"""Most specific first; the first layout that recognises a folder reads it."""


def read_dataset(
    root: Path,
    categories: Iterable[Category] | None = None,
    layout: str | None = None,
    local_root: Path | None = None,
    *,
    words: Words | None = None,
    check_files: bool = True,
) -> Dataset:
    """Find the images under `root`, of all categories or of `categories`.

    `layout` overrides detection. `local_root` is the folder of listed files whose paths are
    remote. `words` are the user's names of folders or labels for good and defective parts. Raises
    `DatasetError` for an unknown layout and, with `check_files`, for listed files that are missing.
    """
    if not root.exists():
        raise DatasetError(f"no folder {root}")
    chosen = None if categories is None else tuple(categories)
    request = Request(root, chosen, local_root, Words() if words is None else words)
    dataset = _choose(root, layout, request.words).read(request)
    if check_files:
        _check(missing_files(dataset), root)
    return dataset


def recognised(root: Path) -> list[str]:
    """Return the names of all matching layouts; `read_dataset` uses the first.

    Includes the catch-all `folders` only if no other layout matches.
    """
    names = [layout.name for layout in LAYOUTS if layout.recognises(root)]
    return [name for name in names if name != FOLDERS.name or len(names) == 1]


def missing_files(dataset: Dataset) -> list[Path]:
    """Return the images and masks of a data set that do not exist."""
    paths = [s.path for s in dataset.samples]
    masks = [s.mask for s in dataset.samples if s.mask is not None]
    return [p for p in paths if not is_there(p, file=True)] + [m for m in masks if not is_there(m)]


def _choose(root: Path, name: str | None, words: Words) -> Layout:
    if name is not None:
        chosen = next((layout for layout in LAYOUTS if layout.name == name), None)
        if chosen is None:
            names = ", ".join(layout.name for layout in LAYOUTS)
            raise DatasetError(f"no layout {name!r}; have: {names}")
        return chosen
    chosen = next((layout for layout in LAYOUTS if layout.recognises(root)), None)
    if chosen is None and words and root.is_dir():
        return FOLDERS
    if chosen is None:
        looked_for = "; ".join(f"{layout.name}: {layout.looks_for}" for layout in LAYOUTS)
        content = listing(root) if root.is_dir() else f"a file {root.name}"
        raise DatasetError(
            f"{root} has no known layout: found {content}. Name the folders of good and "
            "defective parts with --good NAME and --defective NAME (--good . if all images in it "
            f"are good). Known layouts: {looked_for}"
        )
    return chosen


def _check(missing: list[Path], root: Path) -> None:
    if missing:
        more = f", ... ({len(missing)} in all)" if len(missing) > 3 else ""
        raise DatasetError(
            f"{root} lists files that do not exist: {', '.join(map(str, missing[:3]))}{more}"
        )

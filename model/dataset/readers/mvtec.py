"""MVTec-AD and similar layouts: MPDD, and BTAD with `ok` for `good` and `ko` for defects.

See `model.dataset.readers.trees` for the tree. Source: Bergmann et al., "MVTec AD", CVPR 2019;
Jezek et al., "Deep learning-based defect detection of metal parts" (MPDD), 2021; Mishra et al.,
"VT-ADL" (BTAD), 2021.
"""

from collections.abc import Iterable
from pathlib import Path

from model.dataset.readers.folders import folders_in
from model.dataset.readers.request import Layout, Request
from model.dataset.readers.trees import Tree, categories_in
from model.dataset.sample import GOOD, Dataset
from model.errors import DatasetError
from model.words import Words

TREE = Tree("mvtec", "MVTec")
BTAD_TREE = Tree("btad", "BTAD")
_SPLITS = ("train", "test")


def read_mvtec(root: Path, categories: Iterable[str] | None = None) -> Dataset:
    """Find the images under `root`, of all categories or of `categories`, in order of path.

    Raises `DatasetError` for a missing or empty folder, an unknown category, images outside the
    layout, or masks without an image.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    return TREE.read(Request(root, None if categories is None else tuple(categories)))


def _kinds(root: Path, good: str = GOOD) -> set[str]:
    """Return the names of all folders in train and test."""
    places = (folder / split for folder in categories_in(root, good) for split in _SPLITS)
    return {kind.name for place in places for kind in folders_in(place)}


def _is_mvtec(root: Path) -> bool:
    """Whether good parts are only in `good`, and each category has its own splits."""
    words, folders = Words(), categories_in(root)
    by_other_words = [k for k in _kinds(root) if k != GOOD and words.meaning(k).good]
    words_too = [f for f in folders if f != root and not words.meaning(f.name).is_name]
    return bool(folders) and not by_other_words and not words_too


MVTEC = Layout(
    "mvtec",
    "<category>/train/good/*.png, test/<defect>/*.png, ground_truth/<defect>/*_mask.png",
    _is_mvtec,
    TREE.read,
)
BTAD = Layout(
    "btad",
    "<category>/train/ok/*, test/{ok,ko}/*, ground_truth/ko/*",
    lambda root: "ok" in _kinds(root, "ok"),
    BTAD_TREE.read,
)

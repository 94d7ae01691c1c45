"""MVTec-AD, and what is laid out like it: MPDD, and BTAD with `ok` and `ko` for `good` and others.

See `model.dataset.readers.trees` for the tree. Source: Bergmann et al., "MVTec AD", CVPR 2019;
Jezek et al., "Deep learning-based defect detection of metal parts" (MPDD), 2021; Mishra et al.,
"VT-ADL" (BTAD), 2021.
"""

from collections.abc import Iterable
from pathlib import Path

from model.dataset.readers.request import Layout, Request
from model.dataset.readers.trees import Tree
from model.dataset.sample import Dataset
from model.errors import DatasetError
from model.inspection import Category

TREE = Tree("mvtec", "MVTec")
BTAD_TREE = Tree("btad", "BTAD", good="ok")


def read_mvtec(root: Path, categories: Iterable[Category] | None = None) -> Dataset:
    """Find the images under `root`, of all categories or of those named, in order of path.

    Raises `DatasetError`, saying what was expected and found, for a missing or empty folder, an
    unknown category, images out of place, or masks that belong to no image.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    return TREE.read(Request(root, None if categories is None else tuple(categories)))


def _is_btad(root: Path) -> bool:
    folders = BTAD_TREE.categories_in(root).values()
    return any(
        (folder / split / "ok").is_dir() for folder in folders for split in ("train", "test")
    )


MVTEC = Layout(
    "mvtec",
    "<category>/train/good/*.png, test/<defect>/*.png, ground_truth/<defect>/*_mask.png",
    lambda root: bool(TREE.categories_in(root)),
    TREE.read,
)
BTAD = Layout(
    "btad",
    "<category>/train/ok/*, test/{ok,ko}/*, ground_truth/ko/*",
    _is_btad,
    BTAD_TREE.read,
)

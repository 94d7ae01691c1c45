"""MVTec 3D-AD: colour images in each kind's `rgb`, masks in its `gt`.

    <category>/train/good/rgb/*.png     validation/good/rgb/*.png
    <category>/test/<defect>/rgb/*.png  test/<defect>/gt/*.png

The point clouds in `xyz` are not read. Source: Bergmann et al., "The MVTec 3D-AD dataset", 2022.
"""

from pathlib import Path

from model.dataset.readers.request import Layout
from model.dataset.readers.trees import Tree, categories_in

TREE = Tree("mvtec-3d", "MVTec 3D-AD", left_out=frozenset({"xyz"}), silent=frozenset({"rgb"}))


def _recognises(root: Path) -> bool:
    folders = categories_in(root)
    places = (folder / split / "good" / "rgb" for folder in folders for split in ("train", "test"))
    return any(place.is_dir() for place in places)


MVTEC_3D = Layout(
    "mvtec-3d",
    "<category>/train/good/rgb/*.png, test/<defect>/{rgb,gt}/*.png",
    _recognises,
    TREE.read,
)

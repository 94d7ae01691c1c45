"""MVTec LOCO AD: logical and structural anomalies, with a folder of masks for each image.

    <category>/{train,validation}/good/*.png
    <category>/test/{good,logical_anomalies,structural_anomalies}/*.png
    <category>/ground_truth/<kind>/<stem>/000.png, 001.png, ...

A mask's grey value names the kind of defect in `defects_config.json`; this reader combines all
masks of an image and ignores the values. Validation images are held out for calibration. Source:
Bergmann et al., "Beyond dents and scratches", IJCV 2022.
"""

from pathlib import Path

from model.dataset.readers.request import Layout
from model.dataset.readers.trees import Tree, categories_in

TREE = Tree("mvtec-loco", "MVTec LOCO")
_KINDS = ("logical_anomalies", "structural_anomalies")


def _recognises(root: Path) -> bool:
    folders = categories_in(root)
    return any((folder / "test" / kind).is_dir() for folder in folders for kind in _KINDS)


MVTEC_LOCO = Layout(
    "mvtec-loco",
    "<category>/{train,validation}/good/*.png, test/{logical,structural}_anomalies/*.png, "
    "ground_truth/<kind>/<stem>/*.png",
    _recognises,
    TREE.read,
)

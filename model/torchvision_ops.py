"""Make `import torchvision`, which timm needs, work beside a torch it was not built for.

The torchvision of the public package index is compiled against the CUDA build of torch. Beside a
CPU-only torch its compiled part does not load, which torchvision tolerates, until it attaches shape
functions to two operators that only the compiled part declares, and its import dies. Nothing here
ever calls those two (non-maximum suppression of boxes), so their declarations alone will do.
"""

import importlib
import sys

import torch

PACKAGE = "torchvision"
SUPPRESSION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = {"nms": SUPPRESSION, "qnms": SUPPRESSION}


def ensure_importable() -> None:
    """Import torchvision, declaring the operators of its compiled part where that did not load.

    Does nothing more than the import where torchvision imports by itself. Any other failure of the
    import is raised as it came, and leaves no half-imported module behind.
    """
    try:
        _import_whole()
    except RuntimeError as error:
        if f"operator {PACKAGE}::" not in str(error):
            raise
        for name, schema in OPERATORS.items():
            torch.library.define(f"{PACKAGE}::{name}", schema)  # torch keeps it for good
        _import_whole()


def _import_whole() -> None:
    """Import torchvision, or leave `sys.modules` without any of it."""
    try:
        importlib.import_module(PACKAGE)
    except BaseException:
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]
        raise

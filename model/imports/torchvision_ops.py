"""Make `import torchvision` work with a torch it was not built for.

PyPI's torchvision is compiled against the CUDA build of torch. With a CPU-only torch, its compiled
part does not load. torchvision tolerates that until it attaches shape functions to two operators
declared only there, and the import fails. We never call those two (non-maximum suppression of
boxes), so declaring them is enough.
"""

import importlib
import sys

import torch

PACKAGE = "torchvision"
SUPPRESSION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = {"nms": SUPPRESSION, "qnms": SUPPRESSION}


def ensure_importable() -> None:
    """Import torchvision; if its compiled part did not load, declare those operators first.

    Any other import error is raised unchanged and leaves no half-imported module behind.
    """
    try:
        _import_package()
    except RuntimeError as error:
        if f"operator {PACKAGE}::" not in str(error):
            raise
        for name, schema in OPERATORS.items():
            torch.library.define(f"{PACKAGE}::{name}", schema)  # for the whole process
        _import_package()


def _import_package() -> None:
    """Import torchvision, or remove all of it from `sys.modules`."""
    try:
        importlib.import_module(PACKAGE)
    except BaseException:
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]
        raise

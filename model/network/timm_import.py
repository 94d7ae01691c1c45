"""Imports timm: torchvision first, which it needs, and both without torch's compiler."""

import importlib

from model.compiler_import import compiler_deferred
from model.torchvision_ops import ensure_importable


def import_timm() -> None:
    """Import timm. Call it before the first `import timm` of a process."""
    with compiler_deferred():
        ensure_importable()
        importlib.import_module("timm")

"""Imports timm without packages that no network here needs.

While timm is imported, it imports torch's compiler, torchvision for one layer, its own `timm.data`,
which imports the rest of torchvision, and the client of the hub with its weights. Together they
take longer than timm itself, and 25 MB of every worker. Stand-ins take their places meanwhile.
Whoever imports those packages later gets the real ones.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from model.imports.compiler_import import compiler_deferred
from model.imports.stand_ins import stand_ins
from model.imports.torchvision_ops import ensure_importable

_TIMM, _DATA = "timm", "timm.data"
_TORCHVISION, _HUB = "torchvision", "huggingface_hub"


def import_timm() -> None:
    """Import timm; with all of those packages if it needs more of them than the stand-ins have."""
    if _TIMM in sys.modules:
        return
    with compiler_deferred():
        try:
            # the hub's client: its import fails, and timm goes on without it
            with stand_ins({_DATA: _constants_of_data(), _HUB: None} | _torchvision()):
                importlib.import_module(_TIMM)
        except (ImportError, AttributeError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name == _TIMM:
                raise
            for name in [name for name in sys.modules if name.split(".")[0] == _TIMM]:
                del sys.modules[name]
            ensure_importable()
            importlib.import_module(_TIMM)


def find_hub() -> None:
    """Let timm look for its hub's client, which it does only while it is imported."""
    client = importlib.import_module("timm.models._hub")
    if not client.has_hf_hub():
        importlib.reload(client)


def _constants_of_data() -> ModuleType:
    """Return a module that has the constants of `timm.data`, the only names that networks use."""
    spec = find_spec(_TIMM)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {_TIMM!r}", name=_TIMM)

    def find(name: str) -> Any:  # noqa: ANN401 (whatever a constant is)
        if name.startswith("__"):
            raise AttributeError(f"module {_DATA!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{_DATA}.constants"), name)

    module = ModuleType(_DATA)
    vars(module).update(__path__=[str(Path(spec.origin).parent / "data")], __getattr__=find)
    return module


def _torchvision() -> dict[str, ModuleType | None]:
    """Return modules that have the one class of torchvision without which timm is not imported."""
    names = (_TORCHVISION, f"{_TORCHVISION}.ops", f"{_TORCHVISION}.ops.misc")
    modules = {name: ModuleType(name) for name in names}
    for module in modules.values():
        vars(module)["__path__"] = []  # no other module of it can be imported
    vars(modules[names[-1]])["FrozenBatchNorm2d"] = _FrozenBatchNorm2d
    return {**modules}


class _FrozenBatchNorm2d(nn.Module):
    """Stands for a layer that timm makes only if a network's batch norms are to be frozen."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("timm was imported without torchvision's frozen batch norm")

"""Lets torch be imported without the kernels that only its compiler and its exporters need.

While torch is imported, it defines in Python what operators do to tensors without values, and with
that, thousands of operators once more. It takes a third of torch's time and 17 MB. A process that
only inspects needs none of it.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_KERNELS = "torch._meta_registrations"


def leave_out_meta_kernels() -> None:
    """Let this process import torch without them, unless it has imported torch already.

    It must then neither compile nor export a network, nor make a generator of random numbers
    (`torch.Generator`). A module that asks for a part of the kernels gets all of them.
    """
    if "torch" not in sys.modules:
        stand_in = ModuleType(_KERNELS)
        vars(stand_in)["__getattr__"] = _of_real
        sys.modules[_KERNELS] = stand_in


def _of_real(name: str) -> Any:  # noqa: ANN401 (whatever torch has there)
    if name.startswith("__"):
        raise AttributeError(f"module {_KERNELS!r} has no attribute {name!r}")
    del sys.modules[_KERNELS]
    return getattr(importlib.import_module(_KERNELS), name)

"""Defers the import of torch's compiler until something uses it.

The compiler takes longer to import than the rest of torch, and nothing here compiles. torchvision
imports it for one question that it may ask later, and timm to mark a function that must not be
compiled. While they are imported, a stand-in does both without it; for anything else, it imports
the compiler as usual.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

_PACKAGE = "torch._dynamo"
_UTILS = f"{_PACKAGE}.utils"


@contextmanager
def compiler_deferred() -> Iterator[None]:
    """Import modules in this context without torch's compiler, unless it is imported already."""
    if _PACKAGE in sys.modules:
        yield
        return
    stand_ins = {
        _PACKAGE: _stand_in(_PACKAGE, disable=_disable),
        _UTILS: _stand_in(_UTILS, is_compile_supported=_is_compile_supported),
    }
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        _remove(stand_ins)


def _stand_in(name: str, **parts: Callable[..., Any]) -> ModuleType:
    """Return a module with these parts; any other part is that of the real module."""
    module = ModuleType(name)

    def find(part: str) -> Any:  # noqa: ANN401 (whatever the compiler has)
        # Only the package has a path, which the import of another of its modules asks for.
        if part.startswith("__") and (name, part) != (_PACKAGE, "__path__"):
            raise AttributeError(f"module {name!r} has no attribute {part!r}")
        if sys.modules.get(name) is module:
            _remove({key: sys.modules[key] for key in (_PACKAGE, _UTILS)})
        return getattr(importlib.import_module(name), part)

    vars(module).update(parts, __getattr__=find)
    return module


def _remove(stand_ins: dict[str, ModuleType]) -> None:
    for name, module in stand_ins.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


def _disable(function: Any = None, recursive: bool = True, **_: object) -> Any:  # noqa: ANN401
    """Mark a function like `torch.compiler.disable`, by the compiler at the first call."""
    return torch._disable_dynamo(function, recursive)


def _is_compile_supported(*arguments: object) -> Any:  # noqa: ANN401
    return importlib.import_module(_UTILS).is_compile_supported(*arguments)

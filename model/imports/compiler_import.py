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
    sys.modules[_PACKAGE] = _stand_in(_PACKAGE, disable=_disable)
    sys.modules[_UTILS] = _stand_in(_UTILS, is_compile_supported=_is_compile_supported)
    try:
        yield
    finally:
        _remove_stand_ins()


def _stand_in(name: str, **parts: Callable[..., Any]) -> ModuleType:
    """Return a module with these parts; any other part is that of the real module."""
    module = ModuleType(name)

    def find(part: str) -> Any:  # noqa: ANN401 (whatever the compiler has)
        # Only the package has a path, which the import of another of its modules asks for.
        if part.startswith("__") and (name, part) != (_PACKAGE, "__path__"):
            raise AttributeError(f"module {name!r} has no attribute {part!r}")
        return getattr(_real(name), part)

    vars(module).update(parts, __getattr__=find)
    return module


def _real(name: str) -> Any:  # noqa: ANN401
    """Import a module of the compiler in the place of its stand-in."""
    _remove_stand_ins()
    return importlib.import_module(name)


def _remove_stand_ins() -> None:
    for name in (_PACKAGE, _UTILS):
        if name in sys.modules and not hasattr(sys.modules[name], "__file__"):
            del sys.modules[name]


def _disable(function: Any = None, recursive: bool = True, **options: object) -> Any:  # noqa: ANN401
    """Mark a function like `torch.compiler.disable`, by the compiler at the function's first call.

    torch then calls this with the option `wrapping`, and the compiler itself has to do it.
    """
    if "wrapping" in options:
        return _real(_PACKAGE).disable(function, recursive, **options)
    return torch._disable_dynamo(function, recursive)  # type: ignore[attr-defined]


def _is_compile_supported(*arguments: object) -> Any:  # noqa: ANN401
    return _real(_UTILS).is_compile_supported(*arguments)

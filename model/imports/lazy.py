"""Public names of a package that are imported at their first use.

    __getattr__ = lazily(__name__, {"Trainer": "model.training.trainer"})

So `--help` and the errors of options wait for no torch.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's `__getattr__`, which imports a public name from its module in `homes`."""

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)  # later uses find it directly
        return value

    return find

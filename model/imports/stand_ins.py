"""Stand-ins for packages that others import and that nothing here uses.

with stand_ins({"scipy.linalg": ModuleType("scipy.linalg")}):
    import numba.np.arraymath
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def stand_ins(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Put these into the places of modules that are not imported yet, and remove them afterwards.

    The import of a module whose stand-in is None fails. If a package is imported already, nothing
    stands in for its modules.
    """
    made: dict[str, Any] = {
        name: module
        for name, module in modules.items()
        if not any(package in sys.modules for package in modules if name.startswith(package))
    }
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, module in made.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]

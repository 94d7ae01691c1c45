"""Imports what Numba needs to load a kernel, without scipy.

Numba imports scipy's linear algebra only to know whether it is there, for functions that no kernel
here calls: 20 MB of every worker, and 0.2 s.
"""

import importlib
from types import ModuleType

from model.imports.stand_ins import stand_ins

_ASKED_FOR = ("scipy.linalg", "scipy.linalg.cython_blas")


def import_registries() -> None:
    """Import Numba's functions of arrays, which it otherwise does at the first kernel."""
    with stand_ins({name: ModuleType(name) for name in _ASKED_FOR}):
        importlib.import_module("numba.np.arraymath")

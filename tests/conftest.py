"""Every test runs with the shapes in `model`'s signatures checked.

beartype checks them on each call, through jaxtyping's import hook, which has to be in place before
the first import of `model`. Modules that Numba compiles are left out: it cannot compile a wrapper.

Without a CUDA device, Triton's kernels run under its interpreter, on the CPU. Triton reads the
variable that says so when it is first imported.
"""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: tiny networks gain nothing by more

import pytest
import torch
from jaxtyping import install_import_hook

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

ROOT = Path(__file__).parents[1]


def modules_with_shapes() -> list[str]:
    """Name the modules of `model` that use jaxtyping and not Numba."""
    sources = {path: path.read_text("utf-8") for path in sorted((ROOT / "model").rglob("*.py"))}
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path, source in sources.items()
        if path.stem != "__init__"
        and "from jaxtyping import" in source
        and "import numba" not in source
        and "from numba" not in source
    ]


install_import_hook(modules_with_shapes(), "beartype.beartype")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")

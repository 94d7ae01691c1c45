"""torchvision imports beside any torch, and a failed import leaves nothing behind.

A process can declare operators only once, so each case runs in a new one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# A stand-in for torchvision: it attaches a shape function to an operator at import.
MISSING_OPERATORS = """
import torch
import torchvision.extension
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: dets)
imports = 1
"""
OTHER_FAILURE = """
import torchvision.extension
raise {error}
"""


def run_python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    search_path = os.pathsep.join(map(str, [*paths, ROOT]))
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=False,
    )


def write_package(folder: Path, init: str) -> None:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(init)
    (package / "extension.py").write_text("")


def test_the_installed_torchvision_and_timm_import() -> None:
    answer = run_python(
        "from model.imports.torchvision_ops import ensure_importable\n"
        "ensure_importable(); ensure_importable()\n"
        "import torchvision.transforms, timm\n"
        "print(torchvision.__version__)"
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


def test_missing_operators_are_declared_and_the_import_repeated(tmp_path: Path) -> None:
    write_package(tmp_path, MISSING_OPERATORS)
    answer = run_python(
        "from model.imports.torchvision_ops import ensure_importable\n"
        "ensure_importable()\n"
        "import torch, torchvision\n"
        "print(torchvision.imports, torch.ops.torchvision.nms.default._schema)",
        tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("1 torchvision::nms(Tensor dets, Tensor scores, float")


def test_an_import_that_works_declares_nothing(tmp_path: Path) -> None:
    write_package(tmp_path, "imports = 1\n")
    answer = run_python(
        "from model.imports.torchvision_ops import ensure_importable\n"
        "ensure_importable()\n"
        "import torch\n"
        "print(hasattr(torch.ops.torchvision, 'nms'))",
        tmp_path,
    )
    assert answer.stdout.strip() == "False", answer.stderr


@pytest.mark.parametrize(
    "error", ['ImportError("no libjpeg")', 'RuntimeError("different CUDA versions")']
)
def test_any_other_failure_is_raised_and_leaves_no_module(tmp_path: Path, error: str) -> None:
    write_package(tmp_path, OTHER_FAILURE.format(error=error))
    answer = run_python(
        "import sys\n"
        "from model.imports.torchvision_ops import ensure_importable\n"
        "try:\n"
        "    ensure_importable()\n"
        "except Exception as caught:\n"
        "    print(repr(caught), [m for m in sys.modules if m.startswith('torchvision')])",
        tmp_path,
    )
    assert answer.stdout.strip() == error.replace('"', "'") + " []", answer.stderr


@pytest.mark.parametrize("module", ["folding", "packing", "engine"])
def test_a_module_of_the_torch_engine_may_be_imported_first(module: str) -> None:
    command = [sys.executable, "-c", f"import model.engines.torch.{module}"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr

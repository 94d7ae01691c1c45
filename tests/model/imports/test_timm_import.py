"""A worker imports nothing that it does not use, and whoever imports it later gets the real one.

What is imported cannot be taken back, so each case runs in a new process.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

A_WORKER = """
import logging
import sys
from pathlib import Path
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from model.imports.meta_kernels import leave_out_meta_kernels
leave_out_meta_kernels()
import numpy as np
from PIL import Image
from service.workers.child import server
from service.workers.child.checkpoint import LoadedCheckpoint
from model.checkpoints.store import Store
from model.runtimes.runtimes import Runtimes

store = Store(Path("weights"))
runtimes = Runtimes("cpu", {backend!r}, 2)
runtimes.prepare(store.manifests())
version, detector = runtimes.open(store.find("solar"))
LoadedCheckpoint(detector).warm_up([1], lambda call: call())
image = Image.open("samples/solar-mono/defective-1.png")
result = detector.inspect_images([image], "solar-mono")[0]
print(result.decision, len(result.regions) > 0, detector.engine.library)
heavy = ("torchvision", "timm.data", "huggingface_hub", "sympy", "torch._dynamo", "torch._inductor")
kernels = ("torch._refs", "torch._decomp.decompositions")
scipy = ("scipy.linalg", "scipy.ndimage", "scipy.sparse", "scipy.special")
print(*(name for name in (*heavy, *kernels, *scipy, "onnx", "onnxruntime") if name in sys.modules))
"""


def answer_of(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_worker_imports_nothing_that_it_does_not_use():
    decided, imported = answer_of(A_WORKER.format(backend="cpu"))
    assert decided.split() == ["NG", "True", "torch"]
    assert imported == ""


def test_openvino_converts_a_network_without_what_a_worker_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    decided, *_ = answer_of(A_WORKER.format(backend="openvino"))
    assert decided.split() == ["NG", "True", "openvino"]
    assert list((tmp_path / "openvino").glob("*.graph"))


def test_what_a_worker_leaves_out_of_torch_is_there_for_whoever_asks_for_it():
    (line,) = answer_of(
        "from model.imports.meta_kernels import leave_out_meta_kernels\n"
        "leave_out_meta_kernels()\n"
        "import sys, torch\n"
        "from torch import _meta_registrations\n"
        "before = 'torch._refs' in sys.modules\n"
        "found = callable(_meta_registrations.meta_index_Tensor)\n"
        "print(before, found, 'torch._refs' in sys.modules)\n"
    )
    assert line == "False True True"


def test_what_timm_did_without_is_there_for_whoever_imports_it_later():
    lines = answer_of(
        "from model.network.timm_parts import timm\n"
        "from model.imports.timm_import import find_hub\n"
        "from model.imports.torchvision_ops import ensure_importable\n"
        "from timm.models import _builder, _hub\n"
        "print(_hub.has_hf_hub(), timm.create_model('resnet10t').pretrained_cfg['mean'])\n"
        "find_hub()\n"
        "import huggingface_hub\n"
        "is_real = _hub.model_info is huggingface_hub.model_info\n"
        "print(_hub.has_hf_hub(), _builder.has_hf_hub(), is_real)\n"
        "ensure_importable()\n"
        "import timm.data, torchvision.transforms\n"
        "print(timm.data.create_transform.__module__, timm.data.IMAGENET_DEFAULT_MEAN)\n"
    )
    assert lines == [
        "False (0.485, 0.456, 0.406)",
        "True True True",
        "timm.data.transforms_factory (0.485, 0.456, 0.406)",
    ]


def test_a_timm_that_needs_more_is_imported_with_all_of_it(tmp_path):
    package = tmp_path / "timm"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from torchvision.transforms import Resize\nfrom timm.data import loader\n"
    )
    (package / "data" / "__init__.py").write_text("from .constants import *\nloader = 'real'\n")
    (package / "data" / "constants.py").write_text("MEAN = 0.5\n")
    lines = answer_of(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "from model.imports.timm_import import import_timm\n"
        "import_timm()\n"
        "import timm, torchvision\n"
        "print(timm.loader, timm.Resize.__module__, torchvision.__version__ != '')\n"
    )
    assert lines == ["real torchvision.transforms.transforms True"]


def test_numba_without_scipy_still_finds_it_for_linear_algebra():
    lines = answer_of(
        "import sys\n"
        "import model.scan.hybrid\n"
        "import numpy as np\nfrom numba import njit\n"
        "print('scipy.linalg' in sys.modules)\n"
        "print(njit(lambda a, b: np.dot(a, b))(np.eye(2), np.ones((2, 2))).sum())\n"
        "print(sys.modules['scipy.linalg'].__file__ is not None)\n"
    )
    assert lines == ["False", "4.0", "True"]

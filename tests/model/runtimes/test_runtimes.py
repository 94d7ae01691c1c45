"""Which library runs a version, and the message if it is not installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model.checkpoints.manifest import Manifest
from model.checkpoints.store import Store, attach_onnx
from model.cli import app
from model.errors import BackendUnavailable, CheckpointError
from model.runtimes import runtimes
from model.runtimes.runtimes import Runtimes, library_for
from tests.onnx_files import brightness, write_version

ROOT = Path(__file__).parents[3]
NORMAL = {
    "image_threshold": 2.0, "pixel_threshold": 2.0, "image_scale": 0.1, "pixel_scale": 0.1,
    "alpha": 0.01, "good_images": 150,
}  # fmt: skip


def manifest_of(*files):
    hashes = dict.fromkeys(files, "0" * 64)
    return Manifest.from_values(
        {
            "format_version": 1, "name": "parts", "version": "3", "created": "", "network": {},
            "preprocessing": {}, "scoring": {}, "calibrations": {}, "sha256": hashes,
            "encoder_file": "e-1.safetensors", "training": {}, "metrics": {}, "software": {},
        }
    )  # fmt: skip


NETWORK = manifest_of("network.safetensors", "e-1.safetensors")
BOTH = manifest_of("network.safetensors", "e-1.safetensors", "model.onnx")
ONNX = manifest_of("model.onnx")


@pytest.fixture
def installed(monkeypatch):
    def only(*libraries):
        monkeypatch.setattr(runtimes, "_installed", lambda library: library in libraries)

    return only


@pytest.mark.parametrize(
    ("manifest", "backend", "expected"),
    [
        (NETWORK, "auto", "torch"),
        (BOTH, "auto", "torch"),
        (ONNX, "auto", "onnxruntime"),
        (BOTH, "onnxruntime", "onnxruntime"),
        (NETWORK, "onnxruntime", "onnxruntime"),  # it then reports that the file is missing
        (BOTH, "reference", "torch"),
    ],
)
def test_torch_computes_unless_onnxruntime_is_asked_for_or_needed(manifest, backend, expected):
    assert library_for(manifest, backend) == expected


def test_a_machine_without_torch_takes_what_it_can(installed):
    installed("onnxruntime")
    assert library_for(BOTH) == library_for(ONNX) == "onnxruntime"
    with pytest.raises(BackendUnavailable, match=r"parts/3 .*'mambaad-service\[torch\]'.*export"):
        library_for(NETWORK)
    with pytest.raises(BackendUnavailable, match=r"mambaad-service\[torch\]"):
        library_for(BOTH, "cpu")


def test_a_machine_without_onnxruntime_says_how_to_get_it(installed):
    installed("torch")
    assert library_for(BOTH) == "torch"
    for manifest, backend in ((ONNX, "auto"), (BOTH, "onnxruntime")):
        with pytest.raises(BackendUnavailable, match=r"'mambaad-service\[edge\]'"):
            library_for(manifest, backend)


def test_preparing_fails_only_where_nothing_could_be_computed(installed):
    installed("onnxruntime")
    Runtimes().prepare([NETWORK, ONNX])
    Runtimes().prepare([])
    with pytest.raises(BackendUnavailable, match="torch"):
        Runtimes().prepare([NETWORK])


def test_a_device_that_is_not_there_is_named():
    for files in ([NETWORK], []):
        with pytest.raises(BackendUnavailable, match="cannot use cuda:99"):
            Runtimes("cuda:99").prepare(files)


def test_a_version_with_an_onnx_file_alone_is_opened(tmp_path):
    folder = write_version(tmp_path, "parts", {"bolt": NORMAL})
    opened = Runtimes("cpu", "auto", 1)
    version, detector = opened.open(folder)
    assert (version.name, detector.categories) == ("parts", ("bolt",))
    assert detector.engine.nbytes == len(brightness())
    assert opened.encoders == (0, 0)
    assert np.isfinite(detector.raw_scores(np.full((1, 3, 64, 64), 99, np.uint8), ["bolt"])).all()
    del version, detector
    assert opened.held_bytes == 0


def test_an_onnx_file_is_hashed_before_it_is_parsed(tmp_path):
    folder = write_version(tmp_path, "parts", {"bolt": NORMAL})
    (folder / "model.onnx").write_bytes(brightness() + b"\0")
    with pytest.raises(CheckpointError, match="not the file that was saved"):
        Runtimes().open(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        Runtimes().open(folder)


def test_an_onnx_file_that_is_not_there_can_be_made_and_attached(tmp_path):
    folder = write_version(tmp_path, "parts", {"bolt": NORMAL}, data=b"first")
    with pytest.raises(CheckpointError, match="cannot use the ONNX file"):
        Runtimes().open(folder)
    changed = attach_onnx(folder, brightness())
    assert Store(tmp_path).manifests() == [changed]
    assert Runtimes().open(folder)[0].manifest == changed
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        attach_onnx(tmp_path / "parts" / "2", brightness())


def test_what_a_manifest_names_is_a_network_or_an_onnx_file():
    with pytest.raises(CheckpointError, match="sha256 must name"):
        manifest_of("network.safetensors", "model.onnx")  # and no encoder
    with pytest.raises(CheckpointError, match="sha256"):
        manifest_of("network.safetensors", "e-1.safetensors", "other.onnx")
    with pytest.raises(CheckpointError, match="sha256 must name"):
        manifest_of("golden.safetensors")


IMPORTS = """
import sys
import {modules}
heavy = {{"torch", "torchvision", "timm", "numba", "einops", "onnx", "scipy.stats"}}
print(*sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "modules",
    [
        "service.app, service.cli.main, service.http.server, service.workers.process, "
        "service.workers.child.inspector",
        "model.inference.detector, model.checkpoints.store, model.runtimes.runtimes, "
        "model.runtimes.onnx, model.checkpoints.golden",
        "model.images.preprocess, model.scoring.rendering, model.calibration.calibration, "
        "model.scoring.scores, model.checkpoints.manifest",
    ],
)
def test_what_serves_is_imported_without_torch(modules):
    program = IMPORTS.format(modules=modules)
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "\n", "")


def test_a_command_that_needs_torch_says_how_to_get_it(tmp_path, monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("model.checkpoints.checkpoint.Checkpoint.load", missing)
    write_version(tmp_path, "parts", {"bolt": NORMAL})
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"")
    arguments = ["predict", "parts", str(photo), "--weights", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "pip install 'mambaad-service[torch]'" in result.stderr

"""Which way a version is computed where OpenVINO is installed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from model.engines.openvino import graphs
from model.errors import BackendUnavailable
from model.runtimes import openvino, runtimes
from model.runtimes.offline import Choice, open_version
from model.runtimes.openvino import ways_of
from model.runtimes.runtimes import Runtimes, library_for
from tests.model.runtimes.manifests import FAR, GOOD, SHIPPED, manifest


@pytest.mark.parametrize(
    ("agreements", "precision", "automatic", "explicit"),
    [
        ({}, "auto", ["torch"], ["float32"]),
        ({"float32": GOOD}, "auto", ["torch", "float32"], ["float32"]),
        (
            {"float32": GOOD, "bfloat16": GOOD}, "auto",
            ["torch", "float32", "bfloat16"], ["float32", "bfloat16"],
        ),
        ({"float32": GOOD, "bfloat16": FAR}, "auto", ["torch", "float32"], ["float32"]),
        ({"float32": GOOD, "bfloat16": GOOD}, "float32", ["torch", "float32"], ["float32"]),
        ({"float32": GOOD, "bfloat16": GOOD}, "tf32", ["torch", "float32"], ["float32"]),
        ({"bfloat16": GOOD}, "bfloat16", ["torch", "bfloat16"], ["bfloat16"]),
    ],
)  # fmt: skip
def test_agreements_allow_ways(agreements, precision, automatic, explicit):
    assert ways_of(manifest(**agreements), precision, or_torch=True) == automatic
    assert ways_of(manifest(**agreements), precision, or_torch=False) == explicit


def test_a_refused_precision_is_logged(caplog):
    assert ways_of(manifest(bfloat16=FAR), "bfloat16", or_torch=False) == ["float32"]
    assert "solar/3 computes in float32" in caplog.text


def test_without_the_extra_a_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(runtimes, "_installed", lambda library: library == "torch")
    with pytest.raises(BackendUnavailable, match=r"'mambaad-service\[openvino\]'"):
        library_for(manifest(), "openvino")
    assert Runtimes()._library(manifest(float32=GOOD)) == "torch"


def test_automatically_only_a_measured_version_on_a_cpu_may_change():
    assert Runtimes()._library(manifest()) == "torch"
    assert Runtimes()._library(manifest(float32=GOOD)) == "openvino"
    assert Runtimes("cuda:0")._library(manifest(float32=GOOD)) == "torch"
    assert Runtimes(backend="cpu")._library(manifest(float32=GOOD)) == "torch"
    with pytest.raises(BackendUnavailable, match="cannot use cuda:0: OpenVINO"):
        Runtimes("cuda:0", "openvino").prepare([manifest()])


def test_a_version_is_opened_in_the_fastest_way(tmp_path, monkeypatch):
    folder = tmp_path / "solar/3"
    shutil.copytree(SHIPPED, folder)
    shutil.copytree(SHIPPED.parents[1] / "encoders", tmp_path / "encoders")
    (folder / "manifest.json").write_text(manifest(float32=GOOD).to_json(), "utf-8")
    cache = tmp_path / "cache"
    for module in (graphs, openvino):
        monkeypatch.setattr(module, "cache_folder", lambda: cache)
    opened = [_opened(folder)]
    files = sorted(cache.glob("*.speeds"))
    assert len(files) == 2  # of one image, and of several
    for seconds, expected in (((1, 1), "openvino"), ((1, 0.1), "torch"), ((0.1, 1), "torch")):
        for file, torch_s in zip(files, seconds, strict=True):
            file.write_text(json.dumps({"torch": torch_s, "float32": 0.5}), "utf-8")
        opened.append(_opened(folder))
        assert opened[-1].engine.library == expected
    image = np.full((1, 3, 256, 256), 99, np.uint8)
    scores = [detector.raw_scores(image, ["solar-mono"]) for detector in opened]
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], (4, 1)), atol=1e-4)


def test_a_processor_without_the_precision_that_is_set_computes_in_float32(tmp_path, monkeypatch):
    folder = tmp_path / "solar/3"
    shutil.copytree(SHIPPED, folder)
    shutil.copytree(SHIPPED.parents[1] / "encoders", tmp_path / "encoders")
    (folder / "manifest.json").write_text(manifest(bfloat16=GOOD).to_json(), "utf-8")
    monkeypatch.setattr(graphs, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(openvino, "has_precision", lambda name: name == "float32")
    _, detector = Runtimes(backend="openvino", precision="bfloat16").open(folder)
    assert detector.engine.precision == "float32"
    with pytest.raises(BackendUnavailable, match="bfloat16 on this processor"):
        open_version(folder, Choice("openvino", "bfloat16"))


def _opened(folder):
    return Runtimes().open(folder)[1]


def test_openvino_tells_nobody_that_it_is_used():
    program = """
import sys
import model.runtimes.openvino
import openvino
print(hasattr(openvino, "convert_model"), [m for m in sys.modules if "openvino_telemetry." in m])
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=SHIPPED.parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (process.stdout, process.returncode) == ("True []\n", 0), process.stderr

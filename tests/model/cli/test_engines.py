"""The options --engine and --precision, and `calibrate --keep-thresholds`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.manifest import Manifest
from model.cli import app
from model.engines.openvino import graphs
from model.network import MambaAD
from model.runtimes import agreements, runtimes
from model.scoring.scores import Scoring
from tests.tiny import PREPROCESSING, TINY, write_images

ROOT = Path(__file__).parents[3]
OPENVINO = "openvino, float32"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "cache_folder", lambda: tmp_path / "cache")
    torch.manual_seed(0)
    calibrations = {"bolt": Calibration(1.0, 1.0, 0.1, 0.1, 0.01, 150)}
    CheckpointStore(tmp_path / "weights").save(
        "parts", MambaAD(TINY), PREPROCESSING, Scoring(), calibrations,
        training={}, metrics={},
    )  # fmt: skip
    return tmp_path / "weights"


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    write_images(root / "bolt/train/good", 1)
    write_images(root / "bolt/test/good", 3)
    for number in range(3):
        path = root / f"bolt/test/scratch/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), 80 * number, np.uint8)).save(path)
    return root


def test_predict_computes_with_the_engine_that_it_is_told(store, data):
    image = next((data / "bolt/test/good").iterdir())
    scores = {}
    for engine in ("torch", "openvino"):
        arguments = ("parts", image, "--json", "--weights", store, "--engine", engine)
        (line,) = run("predict", *arguments).stdout.splitlines()
        scores[json.loads(line)["engine"]] = json.loads(line)["raw_score"]
    assert list(scores) == ["torch, float32", OPENVINO]
    assert scores[OPENVINO] == pytest.approx(scores["torch, float32"], rel=1e-3)


def test_evaluations_say_what_computed_them(store, data, tmp_path):
    out, report = tmp_path / "out.json", tmp_path / "report.html"
    common = (data, "--weights", store, "--engine", "openvino")
    result = run("evaluate", "parts", *common, "--json", out, "--report", report)
    assert f"computed with {OPENVINO}" in result.stdout
    assert json.loads(out.read_text("utf-8"))["engine"] == OPENVINO
    assert Manifest.read(store / "parts/1").metrics["engine"] == OPENVINO
    assert OPENVINO in report.read_text("utf-8")
    result = run("compare", "parts", "parts", *common, "--json", out, "--report", report)
    assert OPENVINO in json.loads(out.read_text("utf-8"))["times"]["device"]
    assert OPENVINO in report.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--engine", "onnx"), "--engine is torch, onnxruntime or openvino, got 'onnx'"),
        (("--precision", "int8"), "--precision is float32 or bfloat16, got 'int8'"),
        (("--precision", "bfloat16"), "torch computes in float32 here"),
        (("--engine", "openvino", "--precision", "bfloat16"), "no agreement was measured"),
        (("--engine", "onnxruntime"), "mambaad export parts"),
    ],
)
def test_what_cannot_compute_is_refused_in_one_line(store, data, options, says):
    image = next((data / "bolt/test/good").iterdir())
    for command in (("predict", "parts", image), ("evaluate", "parts", data),
                    ("compare", "parts", "parts", data)):  # fmt: skip
        result = run(*command, "--weights", store, *options, code=2)
        assert any(says in line for line in result.stderr.splitlines()), result.stderr
        assert "Traceback" not in result.output


def test_agreement_is_measured_without_touching_the_thresholds(store, data, monkeypatch):
    before = Manifest.read(store / "parts/1")
    common = ("calibrate", "parts", "--images", data / "bolt/test/good", "--category", "bolt",
              "--weights", store, "--keep-thresholds")  # fmt: skip
    assert "fewer than 16384 pixels" in run(*common, code=2).stderr
    monkeypatch.setattr(agreements, "SMALLEST_PX", 1)
    assert "cannot be used with" in run(*common, "--alpha", "0.02", code=2).stderr
    assert "OpenVINO in float32 changes scores by up to" in run(*common).stdout
    after = Manifest.read(store / "parts/1")
    assert after.agreements["float32"]["bolt"].holds
    assert after.model_copy(update={"agreements": before.agreements}) == before
    monkeypatch.setattr(runtimes, "_installed", lambda library: library != "openvino")
    assert "'mambaad-service[openvino]'" in run(*common, code=2).stderr


def test_the_shipped_checkpoint_has_an_agreement_of_each_category():
    agreed = Manifest.read(ROOT / "weights/solar/3").agreements
    assert agreed["float32"].keys() == {"solar-mono", "solar-poly"}
    assert all(one.holds for of in agreed.values() for one in of.values())

"""Files that the export writes, and exports that it refuses."""

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.golden import GoldenImages
from model.cli import app
from model.engines.onnx.engine import OnnxEngine
from model.errors import ExportError, ParityError
from model.export.onnx_file import export_onnx
from model.export.precision import Precision, with_defects
from model.runtimes.runtime import detector_of
from model.runtimes.torch import open_checkpoint
from model.scoring.scores import Scoring
from tests.model.export.small import images, save


def golden(score, tolerance=0.01):
    return {"bolt": GoldenImages(images(1), (score,), tolerance)}


def raw_score(path):
    session = onnxruntime.InferenceSession(path)
    feeds = {"image": images(1), "category": np.zeros(1, np.int64)}
    return float(session.run(["raw_score"], feeds)[0][0])


def test_the_golden_images_open_the_gate_or_close_it(tmp_path):
    path = tmp_path / "parts.onnx"
    written = export_onnx(save(tmp_path / "a"), path)
    assert written.parity.difference < 1e-4
    assert "4 synthetic images" in str(written.parity)
    score = raw_score(path)

    again = export_onnx(save(tmp_path / "b", golden=golden(score)), path)
    assert "3 golden images" in str(again.parity)
    path.unlink()
    with pytest.raises(ParityError, match=r"0\.02"):
        export_onnx(save(tmp_path / "c", golden=golden(score + 0.02)), path)
    assert not path.exists()


def test_what_differs_from_pytorch_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("model.export.scoring.LOG_ODDS", 3.0)
    with pytest.raises(ParityError, match="not written"):
        export_onnx(save(tmp_path), tmp_path / "parts.onnx")
    assert not (tmp_path / "parts.onnx").exists()


@pytest.mark.parametrize(("precision", "share"), [(Precision.FP16, 0.6), (Precision.INT8, 0.4)])
def test_a_smaller_file_is_written_where_scores_stay(tmp_path, precision, share):
    full = export_onnx(save(tmp_path / "a"), tmp_path / "full.onnx")
    small = export_onnx(
        save(tmp_path / "b"), tmp_path / "small.onnx", precision=precision, tolerance=0.1
    )
    assert small.nbytes < share * full.nbytes
    assert 0 < small.parity.difference < 0.1
    metadata = {entry.key: entry.value for entry in onnx.load(small.path).metadata_props}
    assert metadata["precision"] == precision.value
    assert raw_score(small.path) == pytest.approx(raw_score(full.path), abs=0.05)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_and_refused_with_the_figure_where_they_do_not(tmp_path, precision):
    with pytest.raises(
        ExportError, match=r"differ from the checkpoint's by \d.*tolerance of 1e-09"
    ):
        export_onnx(save(tmp_path), tmp_path / "small.onnx", precision=precision, tolerance=1e-9)
    assert not (tmp_path / "small.onnx").exists()


@pytest.mark.parametrize("memory", [0, 40])
def test_the_service_decides_by_baselines_as_pytorch_does(tmp_path, memory):
    scoring = Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0), memory=memory)
    checkpoint = save(tmp_path, scoring)
    written = export_onnx(checkpoint, tmp_path / "parts.onnx")
    engine = OnnxEngine(written.path.read_bytes(), checkpoint.config.image_size)
    served = detector_of(checkpoint, engine)
    wanted = open_checkpoint(checkpoint)
    for category in ("bolt", "nut"):
        names = [category] * 3
        scores = wanted.raw_scores(images(), names)
        np.testing.assert_allclose(served.raw_scores(images(), names), scores, rtol=1e-4)


def test_defects_are_drawn_into_every_image():
    changed = with_defects(images())
    differ = (changed != images()).any(axis=1)
    assert (differ.sum(axis=(1, 2)) > 48).all()
    assert (differ.sum(axis=(1, 2)) <= 64).all()


def test_a_disk_that_refuses_is_told_of(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ExportError, match="cannot write"):
        export_onnx(save(tmp_path), tmp_path / "file" / "parts.onnx")


def run(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_the_command_writes_for_the_service_and_says_how_near(tmp_path):
    save(tmp_path)
    result = run("parts", "--weights", tmp_path, "--serve")
    assert result.exit_code == 0, result.output
    assert "scores differ from PyTorch's by at most" in result.output
    assert raw_score(tmp_path / "parts" / "1" / "model.onnx") > 0
    CheckpointStore(tmp_path).load("parts")  # undamaged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --output FILE or --serve"),
        (["--serve", "--output", "x"], "either --output FILE or --serve"),
        (["--serve", "--format", "torch"], "need --format onnx"),
        (["--output", "x", "--format", "torch", "--precision", "int8"], "need --format onnx"),
    ],
)
def test_the_command_says_what_does_not_go_together(tmp_path, options, message):
    save(tmp_path)
    result = run("parts", "--weights", tmp_path, *options)
    assert result.exit_code == 2
    assert message in result.output

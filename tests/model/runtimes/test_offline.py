"""What may compute a version in an offline command, and what is said if it may not."""

import numpy as np
import pytest

from model.engines.openvino import graphs
from model.errors import BackendUnavailable, CheckpointError
from model.inference.engine import name_of
from model.runtimes import runtimes
from model.runtimes.offline import Choice, check_engine, open_version
from tests.model.runtimes.manifests import FAR, GOOD, SHIPPED, manifest


@pytest.mark.parametrize(
    ("choice", "agreements"),
    [
        (Choice(), {}),
        (Choice("onnxruntime"), {}),
        (Choice("openvino"), {}),  # float32 needs no agreement, as with the setting
        (Choice("openvino", "bfloat16"), {"bfloat16": GOOD}),
    ],
)
def test_these_may_compute(choice, agreements):
    check_engine(manifest(**agreements), choice)


@pytest.mark.parametrize(
    ("choice", "agreements", "error", "says"),
    [
        (Choice("torch", "bfloat16"), {"bfloat16": GOOD}, BackendUnavailable, "needs --engine"),
        (Choice("openvino", device="cuda:0"), {}, BackendUnavailable, "cannot use cuda:0"),
        (Choice("openvino", "bfloat16"), {}, CheckpointError, "no agreement was measured"),
        (
            Choice("openvino", "bfloat16"), {"float32": GOOD, "bfloat16": FAR},
            CheckpointError, r"change too much.* mambaad calibrate solar DATA --keep-thresholds",
        ),
    ],
)  # fmt: skip
def test_these_may_not(choice, agreements, error, says):
    with pytest.raises(error, match=says):
        check_engine(manifest(**agreements), choice)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_a_missing_library_is_named_with_its_extra(engine, monkeypatch):
    monkeypatch.setattr(runtimes, "_installed", lambda library: library not in (engine, "openvino"))
    with pytest.raises(BackendUnavailable, match=rf"needs {engine}, which is not installed: pip "):
        check_engine(manifest(), Choice(engine))


def test_engines_score_alike_and_say_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "cache_folder", lambda: tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256), np.uint8)
    scores = {}
    for engine in ("torch", "openvino"):
        _, detector = open_version(SHIPPED, Choice(engine))
        scores[name_of(detector.engine)] = detector.raw_scores(image, ["solar-mono"])[0]
    assert list(scores) == ["torch, float32", "openvino, float32"]
    assert scores["openvino, float32"] == pytest.approx(scores["torch, float32"], rel=1e-4)


def test_without_its_file_onnxruntime_says_how_to_make_it():
    with pytest.raises(CheckpointError, match="mambaad export solar"):
        open_version(SHIPPED, Choice("onnxruntime"))

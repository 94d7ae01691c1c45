"""The ONNX file against PyTorch, for all configurations."""

import json

import numpy as np
import onnxruntime
import pytest

from model.errors import ExportError
from model.export.artefact import build
from model.export.scoring import rounded_down
from model.inspection import ImageSize
from model.runtimes.torch import open_checkpoint
from model.scoring.scores import Scoring
from tests.model.export.small import images, save

CODES = {"OK": 0, "NG": 1, "REVIEW": 2}
OUTPUTS = ["raw_score", "score", "decision", "anomaly_map"]
NAMES = ("bolt", "nut", "nut")


def run(model, batch, category=(0, 1, 1), compared=("raw_map",)):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {"image": batch, "category": np.array(category[: len(batch)], np.int64)}
    outputs = [*OUTPUTS, *compared]
    assert [output.name for output in session.get_outputs()] == outputs
    return dict(zip(outputs, session.run(None, feeds), strict=True))


def assert_same(checkpoint, model=None):
    """Compare all outputs with the detector's, for two categories in one batch."""
    model = model or build(checkpoint)
    batch = images(3, checkpoint.config.image_size)
    gaussian = checkpoint.scoring.measures_differences
    compared = ["residuals" if gaussian else "raw_map"]
    compared += ["patches"] if checkpoint.scoring.memory else []
    actual = run(model, batch, compared=compared)
    detector = open_checkpoint(checkpoint)
    sizes = [ImageSize(*checkpoint.config.image_size)] * 3
    wanted = detector.inspect(batch, NAMES, sizes)
    np.testing.assert_allclose(actual["score"], [w.score for w in wanted], atol=1e-4)
    np.testing.assert_allclose(actual["raw_score"], [w.raw_score for w in wanted], rtol=1e-4)
    assert actual["decision"].tolist() == [CODES[w.decision] for w in wanted]
    maps = np.stack([w.anomaly_map.values for w in wanted])
    np.testing.assert_allclose(actual["anomaly_map"], maps, atol=1e-4)
    rows = np.concatenate([actual[name].reshape(3, -1) for name in compared], axis=1)
    np.testing.assert_allclose(rows, detector.compare(batch).reshape(3, -1), atol=1e-4)
    assert {name: str(array.dtype) for name, array in actual.items()} == {
        "raw_score": "float32", "score": "float32", "decision": "int64",
        "anomaly_map": "float32", **dict.fromkeys(compared, "float32"),
    }  # fmt: skip
    return actual


@pytest.mark.parametrize("directions", [2, 4, 8])
@pytest.mark.parametrize("scan", ["sweep", "scan", "zorder", "zigzag", "hilbert"])
def test_every_scan_in_every_number_of_directions(tmp_path, scan, directions):
    assert_same(save(tmp_path, scan=scan, directions=directions))


@pytest.mark.parametrize(
    "config",
    [
        {"depths": (2, 3, 4, 2), "state_size": 16, "scan": "hilbert"},
        {"depths": (3, 2, 2, 3), "state_size": 1, "directions": 4, "image_size": (64, 96)},
        {"encoder": "resnet18", "directions": 4},
    ],
    ids=["deep", "not square", "resnet"],
)
def test_encoders_depths_states_and_sizes(tmp_path, config):
    assert_same(save(tmp_path, **config))


@pytest.mark.parametrize(
    "scoring",
    [
        Scoring(statistic="top_mean", top_fraction=0.02, standardise=True),
        Scoring(standardise=True, sigma=0.0, scale_weights=(0.0, 1.0, 2.0)),
        Scoring(statistic="top_mean", top_fraction=1e-9, scale_weights=(1.0, 0.0, 3.0), sigma=1.7),
        Scoring(sigma=30.0, scale_weights=(0.0, 0.0, 1.0)),
        Scoring(distance="mahalanobis", scale_weights=(1.0, 0.0, 2.0)),
        Scoring(distance="mahalanobis", scale_weights=(0.0, 1.0, 0.0), statistic="top_mean"),
        Scoring(memory=40, memory_weight=0.7),
        Scoring(memory=40, standardise=True, statistic="top_mean"),
        Scoring(memory=40, distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0)),
    ],
    ids=[
        "standardised",
        "two scales",
        "a gap",
        "a blur wider than the map",
        "gaussians",
        "gaussians of one scale",
        "memory",
        "memory, standardised",
        "memory and gaussians",
    ],
)
def test_statistics_and_standardising(tmp_path, scoring):
    assert_same(save(tmp_path, scoring))


def test_scores_and_decisions_are_not_all_alike(tmp_path):
    actual = assert_same(save(tmp_path))
    assert set(actual["decision"].tolist()) == {1, 2}
    assert np.ptp(actual["score"]) > 0.01


def test_floating_point_pixels_are_the_same_image(tmp_path):
    checkpoint = save(tmp_path)
    model = build(checkpoint, "float32")
    actual = run(model, images().astype(np.float32) / 255)
    np.testing.assert_allclose(
        actual["raw_map"], run(build(checkpoint), images())["raw_map"], atol=1e-5
    )


def test_a_map_that_is_not_finite_decides_nothing(tmp_path):
    model = build(save(tmp_path), "float32")
    batch = images().astype(np.float32) / 255
    batch[1, 0, 5, 5] = np.nan
    actual = run(model, batch)
    assert actual["decision"].tolist()[1] == 3
    assert np.isnan(actual["raw_score"]).tolist() == [False, True, False]
    assert 3 not in actual["decision"][[0, 2]]


def test_a_feature_that_is_not_finite_decides_nothing(tmp_path):
    model = build(save(tmp_path, Scoring(memory=40)), "float32")
    batch = images().astype(np.float32) / 255
    batch[1, 0, 5, 5] = np.nan
    actual = run(model, batch, compared=("raw_map", "patches"))
    assert actual["decision"].tolist()[1] == 3
    assert np.isnan(actual["raw_score"]).tolist() == [False, True, False]


@pytest.mark.parametrize("threshold", [0.1, 1.1, 5.0785417556762695, -0.3, 1 / 3])
def test_a_threshold_in_single_precision_parts_the_same_scores(threshold):
    near = np.float32(threshold)
    below, above = (np.nextafter(near, np.float32(to)) for to in (-9, 9))
    for score in (below, near, above):
        assert (score > rounded_down(threshold)) == (float(score) > threshold)


def test_the_file_says_what_it_is(tmp_path):
    checkpoint = save(tmp_path)
    model = build(checkpoint)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["categories"]) == ["bolt", "nut"]
    assert json.loads(metadata["thresholds"])["nut"]["review_threshold"] == 0.5
    assert json.loads(metadata["sha256"]) == checkpoint.manifest.sha256
    assert (metadata["precision"], metadata["opset"]) == ("fp32", "21")
    assert [entry.version for entry in model.opset_import] == [21]


def test_the_graph_does_not_grow_with_the_image(tmp_path):
    small = build(save(tmp_path, image_size=(64, 64)))
    large = build(save(tmp_path, image_size=(64, 96)))
    assert len(small.graph.node) == len(large.graph.node) < 1000
    assert large.ByteSize() < small.ByteSize() + 30_000


def test_without_thresholds_nothing_is_exported(tmp_path):
    with pytest.raises(ExportError, match="mambaad calibrate parts"):
        build(save(tmp_path, calibrations={}))

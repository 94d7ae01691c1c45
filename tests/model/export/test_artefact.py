"""The ONNX file against PyTorch, over the configurations that there are."""

import numpy as np
import onnxruntime
import pytest

from model.anomaly import Scoring
from model.detector import Detector
from model.export.artefact import build
from model.inspection import ImageSize
from tests.model.export.small import images, save

CODES = {"OK": 0, "NG": 1, "REVIEW": 2}
OUTPUTS = ["raw_score", "score", "decision", "anomaly_map", "raw_map"]
NAMES = ("bolt", "nut", "nut")


def run(model, batch, category=(0, 1, 1)):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {"image": batch, "category": np.array(category[: len(batch)], np.int64)}
    assert [output.name for output in session.get_outputs()] == OUTPUTS
    return dict(zip(OUTPUTS, session.run(None, feeds), strict=True))


def assert_same(checkpoint, model=None):
    """Every output is what the detector says, for images of two categories in one batch."""
    model = model or build(checkpoint)
    batch = images(3, checkpoint.config.image_size)
    found = run(model, batch)
    detector = Detector.from_checkpoint(checkpoint)
    sizes = [ImageSize(*checkpoint.config.image_size)] * 3
    wanted = detector.inspect(batch, NAMES, sizes)
    np.testing.assert_allclose(found["score"], [w.score for w in wanted], atol=1e-4)
    np.testing.assert_allclose(found["raw_score"], [w.raw_score for w in wanted], rtol=1e-4)
    assert found["decision"].tolist() == [CODES[w.decision] for w in wanted]
    maps = np.stack([w.anomaly_map.values for w in wanted])
    np.testing.assert_allclose(found["anomaly_map"], maps, atol=1e-4)
    np.testing.assert_allclose(found["raw_map"], detector.anomaly_maps(batch), atol=1e-4)
    assert {name: str(array.dtype) for name, array in found.items()} == {
        "raw_score": "float32", "score": "float32", "decision": "int64",
        "anomaly_map": "float32", "raw_map": "float32",
    }  # fmt: skip
    return found


@pytest.mark.parametrize("directions", [2, 4, 8])
@pytest.mark.parametrize("scan", ["sweep", "scan", "zorder", "zigzag", "hilbert"])
def test_every_scan_in_every_number_of_directions(tmp_path, scan, directions):
    assert_same(save(tmp_path, scan=scan, directions=directions))


@pytest.mark.parametrize(
    "config",
    [
        {"encoder": "tf_efficientnet_lite0", "depths": (2, 3, 4, 2), "state_size": 4},
        {"encoder": "resnet18", "depths": (3, 2, 2, 3), "state_size": 1, "scan": "hilbert"},
        {"image_size": (64, 96), "directions": 4, "state_size": 16},
    ],
    ids=["efficientnet", "resnet", "not square"],
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
    ],
    ids=["standardised", "two scales", "a gap", "a blur wider than the map"],
)
def test_statistics_and_standardising(tmp_path, scoring):
    assert_same(save(tmp_path, scoring))


def test_scores_and_decisions_are_not_all_alike(tmp_path):
    found = assert_same(save(tmp_path))
    assert set(found["decision"].tolist()) == {1, 2}
    assert np.ptp(found["score"]) > 0.01

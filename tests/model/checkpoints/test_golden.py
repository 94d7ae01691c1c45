import json
import shutil

import numpy as np
import pytest
import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.golden import TOLERANCE, GoldenImages, check, record, synthetic_images
from model.errors import CheckpointError, ParityError
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.runtimes.torch import open_checkpoint, torch_detector
from model.scoring.scores import Scoring

CONFIG = NetworkConfig(
    encoder="mobilenetv3_small_050", image_size=(64, 64), scan="sweep", directions=2,
    depths=(2, 2, 2, 2), state_size=1,
)  # fmt: skip
HALF = (0.5, 0.5, 0.5)
PREPROCESSING = Preprocessing(image_size=(64, 64), mean=HALF, std=HALF)
CALIBRATIONS = {"bolt": Calibration.fit([0.5, 0.9], [1.0, 2.0])}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MambaAD(CONFIG).eval()


@pytest.fixture(scope="module")
def recorded(network, tmp_path_factory):
    """A checkpoint with golden images of bolts, and its store."""
    store = CheckpointStore(tmp_path_factory.mktemp("recorded"))
    detector = torch_detector(network, PREPROCESSING, Scoring(), {})
    images = synthetic_images((64, 64))
    golden_images = record(images, "bolt", detector.raw_scores, CALIBRATIONS["bolt"].image_scale)
    checkpoint = store.save(
        "parts", network, PREPROCESSING, Scoring(), CALIBRATIONS, training={}, metrics={},
        golden={"bolt": golden_images},
    )  # fmt: skip
    return store, checkpoint


@pytest.fixture
def saved(recorded, tmp_path):
    """A copy of `recorded`, for changes."""
    store, checkpoint = recorded
    shutil.copytree(store.root, tmp_path / "weights")
    return CheckpointStore(tmp_path / "weights"), checkpoint


def constant(value):
    return lambda images, categories: [value] * len(images)


def golden_images_of(*scores, tolerance=0.1):
    return GoldenImages(synthetic_images((8, 8), len(scores)), scores, tolerance)


def test_a_device_that_computes_the_same_passes(saved):
    store, _ = saved
    loaded = store.load("parts")
    assert check(loaded.golden, open_checkpoint(loaded).raw_scores) < 0.01
    slow = open_checkpoint(loaded, backend="reference")
    assert check(loaded.golden, slow.raw_scores) < 0.01


def test_weights_that_are_not_those_saved_with_fail(saved):
    store, checkpoint = saved
    loaded = store.load("parts")
    with torch.no_grad():
        for parameter in loaded.network.decoder.parameters():
            parameter.mul_(1.05)
    with pytest.raises(ParityError, match=r"golden images of 'bolt' differ from the saved ones"):
        check(checkpoint.golden, open_checkpoint(loaded).raw_scores)


def test_the_largest_difference_counts_as_a_share_of_what_is_tolerated():
    golden = {"bolt": golden_images_of(1.0, 1.02), "nut": golden_images_of(1.05, tolerance=1.0)}
    assert check(golden, constant(1.0)) == pytest.approx(0.2)
    assert check({}, constant(1.0)) == 0


@pytest.mark.parametrize("score", [1.11, 0.89, float("nan")])
def test_more_than_tolerated_fails(score):
    with pytest.raises(ParityError):
        check({"bolt": golden_images_of(1.0)}, constant(score))


@pytest.mark.parametrize(("scale", "tolerance"), [(2.0, 2.0 * TOLERANCE), (None, 5.0 * TOLERANCE)])
def test_the_tolerance_follows_the_calibration_or_else_the_scores(scale, tolerance):
    recorded = record(synthetic_images((8, 8)), "bolt", constant(-5.0), scale)
    assert recorded.tolerance == pytest.approx(tolerance)


def test_golden_images_come_back_hashed_and_readable(saved):
    store, checkpoint = saved
    loaded = store.load("parts")
    assert np.array_equal(loaded.golden["bolt"].images, synthetic_images((64, 64)))
    assert loaded.golden["bolt"].raw_scores == checkpoint.golden["bolt"].raw_scores
    folder = store.find("parts")
    entry = json.loads((folder / "manifest.json").read_text())["golden"]["bolt"]
    assert len(entry["raw_scores"]) == 4
    file = folder / "golden.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="not the file that was saved"):
        store.load("parts")


def test_a_checkpoint_without_golden_images_says_nothing_of_them(network, tmp_path):
    store = CheckpointStore(tmp_path)
    store.save("old", network, PREPROCESSING, Scoring(), {}, training={}, metrics={})
    assert store.load("old").golden == {}
    assert "golden" not in json.loads((store.find("old") / "manifest.json").read_text())


def test_images_and_what_is_said_of_them_go_together(saved):
    store, _ = saved
    path = store.find("parts") / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"golden": {}}))
    with pytest.raises(CheckpointError, match="needs entries in `golden`"):
        store.load("parts")
    entry = manifest["golden"]["bolt"]
    path.write_text(json.dumps(manifest | {"golden": {"nut": entry}}))
    with pytest.raises(CheckpointError, match=r"fit together: 2 tensors"):
        store.load("parts")
    short = entry | {"raw_scores": entry["raw_scores"][:2]}
    path.write_text(json.dumps(manifest | {"golden": {"bolt": short}}))
    with pytest.raises(CheckpointError, match="fit together: 1 tensor"):
        store.load("parts")


def test_synthetic_images_are_always_the_same_and_differ_from_each_other():
    images = synthetic_images((50, 70), 3)
    assert images.shape == (3, 3, 50, 70)
    assert np.array_equal(images, synthetic_images((50, 70), 3))
    assert len({image.tobytes() for image in images}) == 3
    assert np.ptp(images) > 128

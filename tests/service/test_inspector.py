"""What a worker computes: batches, and each image on its own where a batch fails."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from model.anomaly import Scoring
from model.calibration import Calibration
from model.detector import Detector
from model.errors import NonFiniteOutput
from model.inspection import Decision, ImageSize
from model.preprocess import Preprocessing
from service.channel import (
    BatchRequest,
    CheckpointKey,
    Failure,
    FailureKind,
    Finding,
    Item,
    WorkerPlan,
)
from service.inspector import Inspector, LoadedCheckpoint

PARTS = CheckpointKey("parts", "1")


def threshold(value: float) -> Calibration:
    return Calibration(
        image_threshold=value,
        pixel_threshold=value,
        image_scale=10.0,
        pixel_scale=10.0,
        alpha=0.01,
        good_images=150,
    )


THRESHOLDS = {
    category: threshold(value)
    for category, value in (("bolt", 10.0), ("nut", -10.0), ("ghost", 1.0), ("rust", 1.0))
}


def plan(weights: Path, *checkpoints: CheckpointKey) -> WorkerPlan:
    return WorkerPlan("cpu", "cpu", "auto", 1, weights, checkpoints, "INFO")


def batch(*categories: str, wants_map: bool = False):
    items = tuple(
        Item(category, ImageSize(48, 96), wants_map, THRESHOLDS[category])
        for category in categories
    )
    dice = np.random.default_rng(0)
    pixels = dice.integers(0, 256, (len(items), 3, 64, 64), dtype=np.uint8)
    return items, pixels


class FaultyDetector(Detector):
    """A real detector that fails on images whose first pixel is as marked."""

    def __init__(self, detector: Detector, error: Exception) -> None:
        self.__dict__.update(detector.__dict__)
        self.error = error

    def inspect(self, images, *rest):
        if (images[:, 0, 0, 0] == 7).any():
            raise self.error
        return super().inspect(images, *rest)


@pytest.fixture(scope="module")
def detector(network, calibration):
    net = network()
    return Detector(
        net,
        Preprocessing(image_size=(64, 64), mean=net.encoder.mean, std=net.encoder.std),
        Scoring(),
        {"bolt": calibration(10.0), "nut": calibration(-10.0)},
    )


def test_categories_of_one_batch_are_decided_by_their_own_thresholds(detector):
    items, pixels = batch("bolt", "nut", "bolt")
    found = LoadedCheckpoint(detector).inspect(items, pixels)
    assert [one.decision for one in found] == [Decision.OK, Decision.NG, Decision.OK]
    assert [one.threshold for one in found] == [10.0, -10.0, 10.0]
    assert {"encoder", "decoder", "anomaly_map", "decision"} == set(found[0].timings_ms)


def test_a_map_travels_only_when_it_is_wanted(detector):
    loaded = LoadedCheckpoint(detector)
    (without,) = loaded.inspect(*batch("bolt"))
    (found,) = loaded.inspect(*batch("bolt", wants_map=True))
    assert without.pixel_scores is None
    assert found.pixel_scores.shape == (64, 64)
    assert found.pixel_scores.dtype == np.float32
    assert (found.pixel_scores > 0).all()
    assert (found.pixel_scores < 0.5).all()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NonFiniteOutput("NaN"), FailureKind.NON_FINITE),
        (RuntimeError("shape"), FailureKind.FAILED),
        (MemoryError(), FailureKind.FAILED),
        (torch.OutOfMemoryError("no memory"), FailureKind.FAILED),
    ],
)
def test_one_bad_image_fails_alone(detector, error, kind):
    items, pixels = batch("bolt", "nut", "bolt")
    pixels[:, 0, 0, 0] = 0
    expected = LoadedCheckpoint(detector).inspect(items, pixels)
    pixels[1, 0, 0, 0] = 7
    faulty = LoadedCheckpoint(FaultyDetector(detector, error))
    found = faulty.inspect(items, pixels)
    assert found[1] == Failure(kind)
    for i in (0, 2):
        assert isinstance(found[i], Finding)
        assert found[i].decision == expected[i].decision
        assert found[i].raw_score == pytest.approx(expected[i].raw_score, rel=1e-4)


def test_a_device_beyond_use_ends_the_worker(detector):
    items, pixels = batch("bolt")
    pixels[0, 0, 0, 0] = 7
    error = torch.AcceleratorError("an illegal memory access was encountered")
    faulty = LoadedCheckpoint(FaultyDetector(detector, error))
    with pytest.raises(torch.AcceleratorError):
        faulty.inspect(items, pixels)


def test_all_that_can_be_loaded_is_and_the_rest_is_reported(weights, caplog):
    keys = [CheckpointKey(name, "1") for name in ("parts", "poisoned", "rotten")]
    with caplog.at_level(logging.ERROR, "service"):
        refused = Inspector(plan(weights, *keys)).load_all()
    assert list(refused) == [CheckpointKey("rotten", "1")]
    assert "sha256" in refused[keys[2]].lower()
    assert "warming up ghost" in caplog.text


def test_a_checkpoint_that_does_not_fit_the_device_harms_no_other(weights, monkeypatch):
    real = Detector.from_checkpoint

    def too_large(checkpoint, **options):
        if checkpoint.name == "poisoned":
            raise torch.OutOfMemoryError("tried to allocate 1 TiB at /secret")
        return real(checkpoint, **options)

    monkeypatch.setattr(Detector, "from_checkpoint", too_large)
    keys = [CheckpointKey(name, "1") for name in ("poisoned", "parts")]
    refused = Inspector(plan(weights, *keys)).load_all()
    assert list(refused) == keys[:1]
    assert "OutOfMemoryError" in refused[keys[0]]
    assert "secret" not in refused[keys[0]]


def test_nan_is_a_failure_and_never_a_decision(weights):
    items, pixels = batch("ghost", "ghost")
    reply = Inspector(plan(weights)).inspect(
        BatchRequest(CheckpointKey("poisoned", "1"), items, pixels)
    )
    assert reply.outcomes == (Failure(FailureKind.NON_FINITE),) * 2


def test_a_checkpoint_is_loaded_when_it_is_first_needed(weights):
    items, pixels = batch("bolt")
    reply = Inspector(plan(weights)).inspect(BatchRequest(PARTS, items, pixels))
    assert reply.outcomes[0].decision == Decision.OK


def test_a_checkpoint_that_cannot_be_loaded_fails_its_batch(weights):
    items, pixels = batch("rust", "rust")
    reply = Inspector(plan(weights)).inspect(
        BatchRequest(CheckpointKey("rotten", "1"), items, pixels)
    )
    assert reply.outcomes == (Failure(FailureKind.CHECKPOINT),) * 2

"""Agreements are measured on held-out images, and kept in the manifest."""

import pytest
import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.manifest import Manifest
from model.engines.openvino import graphs
from model.network import MambaAD
from model.runtimes import agreements
from model.runtimes.agreements import with_agreements
from model.scoring.scores import Scoring
from model.training import read_training_data
from tests.tiny import PREPROCESSING, TINY, write_images


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise")
    write_images(root / "bolt" / "train" / "good", 3)
    return read_training_data(root, ["bolt"], None, 0.2, 0).train


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    calibrations = {"bolt": Calibration(1.0, 1.0, 0.1, 0.1, 0.01, 150)}
    return CheckpointStore(tmp_path).save(
        "parts", MambaAD(TINY), PREPROCESSING, Scoring(), calibrations,
        training={}, metrics={},
    )  # fmt: skip


def test_held_out_images_are_scored_both_ways(tmp_path, saved, held_out, monkeypatch):
    monkeypatch.setattr(graphs, "cache_folder", lambda: tmp_path / "cache")
    store = CheckpointStore(tmp_path)
    assert with_agreements(store, saved, held_out) is saved  # too small to gain
    monkeypatch.setattr(agreements, "SMALLEST_PX", 1)
    assert with_agreements(store, saved, []) is saved
    measured = with_agreements(store, saved, held_out).manifest
    assert Manifest.read(tmp_path / "parts/1") == measured
    bolt = measured.agreements["float32"]["bolt"]
    assert (bolt.images, bolt.holds) == (3, True)
    assert bolt.difference < 1e-3
    monkeypatch.setattr(agreements, "find_spec", lambda _name: None)
    assert with_agreements(store, saved, held_out) is saved


def test_a_changed_decision_counts(saved, held_out):
    changed = agreements._compare(saved, held_out[:2], [0.9, 1.2], [1.1, 1.2])["bolt"]
    assert (changed.images, changed.decisions, changed.holds) == (2, 1, False)
    assert changed.difference > 0.01


def test_many_images_are_thinned_out(held_out):
    samples = list(held_out) * 70
    assert 50 <= len(agreements._spread(samples)) <= agreements.MOST_IMAGES

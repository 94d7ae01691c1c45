"""Folders made by a stranger are refused with a reason, and the other versions serve."""

import json
import shutil

import pytest
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from service.telemetry.metrics import Metrics
from service.versions.registry import Registry

BAD = {
    "brackets": ("[" * 200_000, "nested more than 32 levels"),
    "objects": ('{"a":' * 100_000, "nested more than 32 levels"),
    "digits": ("1" * 5000, "5000 digits"),
    "nan": ("NaN", "not a JSON number"),
    "large": (" " * (2**23 + 1), "larger than 8388608 bytes"),
    "empty": ("", "not valid JSON"),
}


@pytest.fixture
def root(save, tmp_path):
    save(tmp_path / "weights", "good", {"bolt": 1.0})
    return tmp_path / "weights"


def changed(root, name, **changes):
    shutil.copytree(root / "good/1", root / name / "1")
    manifest = root / name / "1/manifest.json"
    values = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps({**values, "name": name, **changes}), "utf-8")
    return CheckpointKey(name, "1")


def test_bad_folders_are_listed_as_refused_and_others_serve(root):
    for name, (text, _) in BAD.items():
        (root / name / "1").mkdir(parents=True)
        (root / name / "1/manifest.json").write_text(text, "utf-8")
    registry = Registry(Store(root), Metrics(CollectorRegistry()))
    assert [route.category for route in registry.routes] == ["bolt"]
    refused = {refusal.checkpoint.name: refusal.reason for refusal in registry.refusals}
    assert refused.keys() == BAD.keys()
    for name, (_, message) in BAD.items():
        assert message in refused[name]
    registry.rescan()
    assert {version.key.name for version in registry.versions} == {"good", *BAD}


def test_numbers_that_fit_no_calibration_or_scoring_are_refused_too(root):
    manifest = json.loads((root / "good/1/manifest.json").read_text("utf-8"))
    calibration = manifest["calibrations"]["bolt"]
    point = {
        "goal": "x", "keeps_alpha": True, "good_images": 0, "false_rejects": 0, "good_reviews": 0,
        "defect_images": 0, "escapes": 0, "defect_reviews": 0,
    }  # fmt: skip
    for name, changes, message in (
        (
            "threshold",
            {"calibrations": {"nut": {**calibration, "image_threshold": 1e300}}},
            "at most",
        ),
        ("point", {"calibrations": {"nut": {**calibration, "operating_point": point}}}, "0 images"),
        ("sigma", {"scoring": {**manifest["scoring"], "sigma": 1e9}}, "sigma must be 0 to"),
        ("states", {"network": {**manifest["network"], "state_size": 10**6}}, "state_size"),
        (
            "side",
            {"preprocessing": {**manifest["preprocessing"], "image_size": [1, 10**9]}},
            "2048",
        ),
    ):
        changed(root, name, **changes)
        registry = Registry(Store(root), Metrics(CollectorRegistry()))
        (refusal,) = [r for r in registry.refusals if r.checkpoint.name == name]
        assert message in refusal.reason

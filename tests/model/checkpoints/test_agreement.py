"""Agreements of a precision: what holds, and what new thresholds undo."""

import pytest

from model.checkpoints.agreement import Agreement, holds, merged
from model.checkpoints.manifest import Manifest
from model.errors import CheckpointError

GOOD = Agreement(images=20, difference=0.004, decisions=0)
FAR = Agreement(images=20, difference=0.011, decisions=0)
OTHER = Agreement(images=20, difference=0.001, decisions=1)
FIT = {
    "image_threshold": 2.0, "pixel_threshold": 2.0, "image_scale": 0.1, "pixel_scale": 0.1,
    "alpha": 0.01, "good_images": 150,
}  # fmt: skip


class Calibrated:
    def to_dict(self):
        return FIT | {"image_threshold": 3.0}


def manifest(agreements):
    return Manifest.from_values(
        {
            "format_version": 1, "name": "parts", "version": "3", "created": "", "network": {},
            "preprocessing": {}, "scoring": {}, "calibrations": {"bolt": FIT, "nut": FIT},
            "sha256": {"model.onnx": "0" * 64}, "encoder_file": "e-1.safetensors", "training": {},
            "metrics": {}, "software": {}, "agreements": agreements,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"bolt": GOOD, "nut": GOOD}, True),
        ({"bolt": GOOD}, False),
        ({"bolt": GOOD, "nut": FAR}, False),
        ({"bolt": OTHER, "nut": GOOD}, False),
        ({}, False),
    ],
)
def test_every_category_must_agree(measured, expected):
    assert holds({"bfloat16": measured}, "bfloat16", ["bolt", "nut"]) is expected
    assert not holds({"bfloat16": measured}, "float32", ["bolt", "nut"])


def test_a_further_measurement_replaces_that_of_its_category():
    both = merged({"float32": {"bolt": GOOD, "nut": FAR}}, {"float32": {"nut": GOOD}})
    assert both == {"float32": {"bolt": GOOD, "nut": GOOD}}
    assert merged({}, {"bfloat16": {"bolt": GOOD}}) == {"bfloat16": {"bolt": GOOD}}


def test_new_thresholds_need_a_new_measurement():
    before = manifest({"bfloat16": {"bolt": GOOD, "nut": GOOD}})
    after = before.recalibrated({"nut": Calibrated()}, "new images")
    assert after.agreements == {"bfloat16": {"bolt": GOOD}}
    assert Manifest.from_json(after.to_json()) == after


def test_a_manifest_without_agreements_is_written_as_before():
    assert "agreements" not in manifest({}).to_json()


@pytest.mark.parametrize(
    "hostile",
    [
        {"float16": {"bolt": GOOD}},
        {"bfloat16": {"../bolt": GOOD}},
        {"bfloat16": {"bolt": {"images": 0, "difference": 0.0, "decisions": 0}}},
        {"bfloat16": {"bolt": {"images": 2, "difference": -1.0, "decisions": 0}}},
    ],
)
def test_a_strange_agreement_is_refused(hostile):
    with pytest.raises(CheckpointError):
        manifest(hostile)

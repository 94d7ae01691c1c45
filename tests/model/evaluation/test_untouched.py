"""Compares test images with those that training and calibration have seen."""

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.checkpoints.seen import CalibrationImages, SeenImages
from model.dataset import Sample
from model.dataset.fingerprints import by_category, fingerprint, halves
from model.evaluation.untouched import compare_with

IMAGES = 12


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    written = []
    for number in range(IMAGES):
        values = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
        written.append(Sample(folder / f"{number}.png", "bolt", "good"))
    return written


def digests(samples, chosen):
    return by_category([samples[n] for n in sorted(chosen)])


places = st.sets(st.integers(0, IMAGES - 1))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    train=places, held_out=places, watch=places, good=places, bad=places, other=places,
    test=st.sets(st.integers(0, IMAGES - 1), min_size=1), again=st.booleans(),
)  # fmt: skip
def test_exactly_the_images_that_were_seen_are_named(
    samples, train, held_out, watch, good, bad, other, test, again
):
    learned = {
        "train": digests(samples, train), "held_out": digests(samples, held_out),
        "watch": digests(samples, watch),
    }  # fmt: skip
    seen = SeenImages(learned)
    seen = seen.calibrated(2, CalibrationImages(good=digests(samples, other) or {"bolt": ()}))
    images = {"good": digests(samples, good) or {"bolt": ()}, "defective": digests(samples, bad)}
    seen = seen.calibrated(3, CalibrationImages.model_validate(images))
    number = 3
    in_force = good | bad
    if again:  # the second calibration is used again, and the third is no longer in force
        seen, number, in_force = seen.calibrated(4, CalibrationImages(again=2)), 4, other
    comparison = compare_with(seen, number, [samples[n] for n in sorted(test)])
    expected = test & (train | held_out | watch | in_force)
    assert {int(sample.path.stem) for sample, _ in comparison.seen} == expected
    assert comparison.gap is None
    assert comparison.is_sure == (not expected)
    text = " ".join(comparison.sentences())
    assert ("None of these test images" in text) == (not expected)
    if expected:
        assert f"{len(expected)} of these {len(test)} test images" in text


def test_what_is_unknown_is_never_called_clean(samples):
    first_digest = digests(samples, {0})
    assert "training images" in compare_with(SeenImages(), 1, samples).sentences()[0]
    skipped = SeenImages({"train": first_digest}).calibrated(
        3, CalibrationImages(good=first_digest)
    )
    assert "current thresholds" in str(compare_with(skipped, 3, samples[1:]).gap)
    lost = SeenImages({"train": first_digest}).calibrated(2, CalibrationImages(again=7))
    assert "current thresholds" in str(compare_with(lost, 2, samples[1:]).gap)
    part = compare_with(SeenImages(None, {1: CalibrationImages(good=first_digest)}), 1, samples)
    first, second = part.sentences()
    assert "1 of these 12 test images" in first
    assert "Not checked whether the other test images" in second


def test_a_picture_is_the_same_under_another_name_and_stored_anew(samples, tmp_path):
    path = samples[0].path
    shutil.copy(path, tmp_path / "copy.png")
    with Image.open(path) as image:
        image.save(tmp_path / "anew.bmp")
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png")
    assert fingerprint(tmp_path / "copy.png") == fingerprint(path)
    assert halves(fingerprint(tmp_path / "anew.bmp"))[1] == halves(fingerprint(path))[1]
    assert halves(fingerprint(tmp_path / "anew.bmp"))[0] != halves(fingerprint(path))[0]
    assert not set(halves(fingerprint(tmp_path / "turned.png"))) & set(halves(fingerprint(path)))


def test_thousands_of_images_are_a_small_file():
    digest = "0123456789abcdef" * 4
    seen = SeenImages({"train": {"bolt": [digest] * 10_000}, "held_out": {}})
    assert len(seen.to_bytes()) < 1_000_000

"""The number of images that a promise needs, against the threshold's rank itself."""

from dataclasses import replace

import pytest

from model.calibration.calibration import Calibration
from model.calibration.conformal import conformal_quantile, guaranteed_rate, images_needed
from model.dataset import Sample, split_good
from model.training.advice.promises import RATES, images_in_all, outlook
from model.training.advice.sentences import sentences_of_outlook


def promised(images, alpha):
    """The share of n + 1 equally likely ranks that lie above the threshold of n scores."""
    threshold = conformal_quantile(range(1, images + 1), alpha)
    return (images + 1 - threshold) / (images + 1)


@pytest.mark.parametrize("alpha", [*RATES, 0.1, 0.03, 0.29])
def test_the_number_of_images_is_the_first_whose_threshold_keeps_the_promise(alpha):
    needed = images_needed(alpha)
    first = next(n for n in range(1, 2000) if promised(n, alpha) <= alpha + 1e-12)
    assert needed == first
    for images in (1, needed - 1, needed, needed + 1, 3 * needed):
        if images:
            assert guaranteed_rate(images, alpha) == pytest.approx(promised(images, alpha))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.33, 0.5, 0.9])
@pytest.mark.parametrize("held_out", [1, 2, 19, 99])
def test_all_images_are_the_fewest_of_which_enough_are_held_out(tmp_path, share, held_out):
    images = images_in_all(held_out, share)

    def held(count):
        samples = [Sample(tmp_path / f"{n}.png", "bolt", "good") for n in range(count)]
        return len(split_good(samples, share, 0)[1])

    assert held(images) >= held_out
    if images > 2:
        assert held(images - 1) < held_out


def test_the_next_promises_are_those_up_to_the_one_after_alpha():
    calibration = Calibration.fit(range(12), range(12), 0.01)
    view = outlook(calibration, 60, 0.2)
    steps = [(step.alpha, step.needed, step.missing) for step in view.next_promises]
    assert steps == [(0.05, 19, 7), (0.02, 49, 37), (0.01, 99, 87), (0.005, 199, 187)]
    assert view.rate == pytest.approx(1 / 13)
    assert view.shares_images
    assert not outlook(calibration, 100, 0.2).shares_images  # 12 of another folder
    assert view.folds_rate == pytest.approx(1 / 61)
    kept = outlook(Calibration.fit(range(150), range(150), 0.01), 750, 0.2)
    assert [(step.alpha, step.missing) for step in kept.next_promises] == [(0.005, 49)]
    plenty = outlook(Calibration.fit(range(999), range(999), 0.01), 5000, 0.2)
    assert plenty.next_promises == ()
    assert "down to 0.1 %" in next(sentences_of_outlook(plenty))


def test_folds_hold_nothing_out_so_a_promise_needs_all_its_images():
    calibration = replace(Calibration.fit(range(60), range(60), 0.05), folds=5)
    view = outlook(calibration, 60, 0.2)
    assert not view.is_promise
    assert view.next_promises[0].missing == view.next_promises[0].needed == 19

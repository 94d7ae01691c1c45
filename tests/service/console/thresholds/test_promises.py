"""The bound of a threshold is never below the true share of held-out good parts above it."""

import numpy as np
import pytest

from model.calibration.calibration import Calibration
from model.calibration.operating_point import LowestCost
from service.console.thresholds.promises import promises_of


def bound_at(promises, threshold):
    rates = [step.rate for step in promises.steps if step.threshold <= threshold]
    return rates[-1] if rates else None


@pytest.mark.parametrize("count", [3, 20, 21, 150, 977])
def test_a_bound_is_the_conformal_rate_or_above(count):
    random = np.random.default_rng(count)
    scores = np.round(random.normal(size=count), 2)  # with ties
    promises = promises_of(Calibration.fit(scores, scores, alpha=0.05))
    places = np.concatenate([random.uniform(-3, 3, 200), scores])
    for threshold in places:
        conformal = (np.count_nonzero(scores > threshold) + 1) / (count + 1)
        bound = bound_at(promises, threshold)
        assert bound is None or conformal <= bound < conformal + 0.05 + 2 / (count + 1) + 0.02
    assert bound_at(promises, scores.max()) == pytest.approx(1 / (count + 1))


def test_the_calibrated_threshold_keeps_its_promise():
    scores = np.random.default_rng(0).normal(size=400)
    calibration = Calibration.fit(scores, scores, alpha=0.01)
    promises = promises_of(calibration)
    assert bound_at(promises, calibration.image_threshold) == calibration.guaranteed_rate <= 0.01
    assert bound_at(promises, scores.min() - 1) is None
    assert promises.is_held_out


def test_an_older_calibration_has_only_its_threshold():
    shared = {"pixel_threshold": 1, "image_scale": 1, "pixel_scale": 1}
    old = promises_of(Calibration(10.0, **shared, alpha=0.01, good_images=150))
    assert not old.has_quantiles
    assert bound_at(old, 9.99) is None
    assert bound_at(old, 10.0) == pytest.approx(1 / 151)


def test_a_threshold_chosen_with_defects_is_no_rank():
    random = np.random.default_rng(0)
    scores = random.normal(size=200)
    fitted = Calibration.fit(scores, scores, alpha=0.01)
    cost = LowestCost(false_reject=1, escape=100, defect_rate=0.1)
    promises = promises_of(fitted.for_goal(cost, scores, random.normal(1, 1, 50)))
    above = np.count_nonzero(scores > fitted.image_threshold)
    assert bound_at(promises, fitted.image_threshold) >= (above + 1) / 201


def test_cross_calibration_promises_nothing():
    scores = np.random.default_rng(0).normal(size=200)
    assert not promises_of(Calibration.fit(scores, scores, folds=5)).is_held_out

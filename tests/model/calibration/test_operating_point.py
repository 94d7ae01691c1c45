"""Thresholds chosen with defective examples: their rates, promises and texts."""

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.stats import binomtest

from model.calibration.calibration import Calibration
from model.calibration.conformal import conformal_lower_quantile, rate_interval
from model.calibration.operating_point import (
    EscapeRate,
    HighestF1,
    LowestCost,
    OperatingPoint,
    choose,
)
from model.errors import CalibrationError
from model.inspection import Decision


def examples(seed=0, good=200, defective=60, apart=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=good), rng.normal(apart, 1.0, size=defective)


def fitted(goal, good, defective, alpha=0.05):
    return Calibration.fit(good, good, alpha).for_goal(goal, good, defective)


@pytest.mark.parametrize(("m", "rate", "rank"), [(99, 0.05, 5), (100, 0.01, 1), (20, 0.01, 1)])
def test_a_threshold_for_escapes_lies_just_below_the_kth_smallest(m, rate, rank):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, m + 1))
    threshold = conformal_lower_quantile(scores, rate)
    assert threshold == math.nextafter(rank, 0)
    assert np.count_nonzero(scores <= threshold) == rank - 1


@pytest.mark.parametrize(("m", "rate"), [(40, 0.05), (150, 0.02), (99, 0.1), (10, 0.01)])
def test_the_escape_rate_averages_what_is_promised(m, rate):
    rng = np.random.default_rng(4)
    draws = rng.gamma(2.0, size=(2000, m + 50))
    thresholds = np.array([conformal_lower_quantile(row[:m], rate) for row in draws])
    escaped = np.mean(draws[:, m:] <= thresholds[:, None], axis=1)
    error = 4 * escaped.std() / math.sqrt(len(draws))
    assert escaped.mean() == pytest.approx(EscapeRate(rate).promise(m), abs=error)


def test_an_escape_rate_opens_a_band_for_review_below_ng():
    good, defective = examples()
    plain = Calibration.fit(good, good, 0.05)
    calibration = fitted(EscapeRate(0.02), good, defective)
    assert calibration.image_threshold == plain.image_threshold
    assert calibration.review_threshold < plain.image_threshold
    decisions = [calibration.decide(score) for score in defective]
    assert decisions.count(Decision.OK) == calibration.operating_point.escapes
    assert decisions.count(Decision.REVIEW) == calibration.operating_point.defect_reviews > 0
    assert calibration.operating_point.escapes <= 0.02 * len(defective)
    assert calibration.operating_point.keeps_alpha
    assert "at most 5 % are rejected" in calibration.promise()
    assert "at most 1.64 % escape" in calibration.promise()  # 1 of the 61 ranks


def test_without_review_everything_from_the_escape_threshold_is_ng():
    good, defective = examples()
    calibration = fitted(EscapeRate(0.02, review=False), good, defective)
    assert calibration.review_threshold is None
    assert calibration.image_threshold == conformal_lower_quantile(defective, 0.02)
    assert calibration.score(calibration.image_threshold) == 0.5
    assert not calibration.operating_point.keeps_alpha
    assert "are rejected on average" not in calibration.promise()


def test_defects_far_away_leave_the_threshold_of_good_parts():
    good, defective = examples(apart=50.0)
    plain = Calibration.fit(good, good, 0.05)
    calibration = fitted(EscapeRate(0.02), good, defective)
    assert calibration.image_threshold == plain.image_threshold
    assert calibration.review_threshold is None


def test_the_highest_f1_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    good, defective = examples(apart=1.0)
    labels = np.r_[np.zeros(len(good)), np.ones(len(defective))]
    scores = np.r_[good, defective]
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    calibration = fitted(HighestF1(), good, defective)
    predicted = [calibration.decide(score) is Decision.NG for score in scores]
    assert metrics.f1_score(labels, predicted) == pytest.approx(best)


def mean_cost(goal, low, high, good, defective):
    escaped = np.mean(defective <= low)
    rejected = np.mean(good > high)
    looks = [np.mean((x > low) & (x <= high)) for x in (good, defective)]
    pi = goal.defect_rate
    look = (1 - pi) * looks[0] + pi * looks[1]
    return (
        pi * goal.escape * escaped
        + (1 - pi) * goal.false_reject * rejected
        + (goal.review or 0) * look
    )


@pytest.mark.parametrize("review", [None, 0.2, 3.0])
@pytest.mark.parametrize("escape", [5.0, 500.0])
def test_no_other_thresholds_cost_less(review, escape):
    good, defective = examples(seed=3, good=40, defective=15, apart=1.0)
    goal = LowestCost(false_reject=2, escape=escape, review=review, defect_rate=0.05)
    thresholds, point = choose(goal, good, defective, conformal=1.0)
    low = thresholds.image if thresholds.review is None else thresholds.review
    lowest = mean_cost(goal, low, thresholds.image, good, defective)
    tried = np.r_[-9, np.sort(np.r_[good, defective])]
    pairs = combinations_with_replacement(tried, 2) if review else ((t, t) for t in tried)
    assert lowest == pytest.approx(min(mean_cost(goal, *pair, good, defective) for pair in pairs))
    assert point.escapes == np.count_nonzero(defective <= low)
    assert point.false_rejects == np.count_nonzero(good > thresholds.image)


def test_a_dear_escape_lowers_the_threshold():
    good, defective = examples(apart=1.0)
    cheap, dear = (
        fitted(LowestCost(false_reject=1, escape=cost), good, defective).image_threshold
        for cost in (10, 10_000)
    )
    assert dear < cheap


def test_a_cheap_review_opens_a_band_and_a_dear_one_does_not():
    good, defective = examples(apart=1.0)
    band = fitted(LowestCost(false_reject=2, escape=500, review=0.1), good, defective)
    assert band.review_threshold < band.image_threshold
    none = fitted(LowestCost(false_reject=2, escape=500, review=1e6), good, defective)
    assert none.review_threshold is None


@pytest.mark.parametrize(
    "goal", [EscapeRate(0.05), HighestF1(), LowestCost(false_reject=1, escape=9, review=0.3)]
)
def test_a_manifest_keeps_how_thresholds_were_chosen(goal):
    calibration = fitted(goal, *examples())
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    assert f"Chosen for {goal.describe()}." in calibration.promise()


def test_what_a_damaged_manifest_lacks_is_named():
    values = fitted(HighestF1(), *examples()).operating_point.to_dict()
    del values["escapes"]
    with pytest.raises(Exception, match="OperatingPoint needs escapes"):
        OperatingPoint.from_dict(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EscapeRate(0), "escape rate must be between 0 and 1"),
        (lambda: LowestCost(false_reject=0, escape=1), "cost of false_reject must be above 0"),
        (lambda: LowestCost(false_reject=1, escape=math.inf), "cost of escape"),
        (lambda: LowestCost(false_reject=1, escape=1, defect_rate=1), "defect rate"),
        (lambda: choose(HighestF1(), [0.0], [], 1.0), "at least one"),
        (lambda: choose(HighestF1(), [0.0], [math.nan], 1.0), "must be finite"),
    ],
)
def test_the_impossible_is_refused(make, message):
    with pytest.raises(CalibrationError, match=message):
        make()


def test_a_review_band_can_stand_on_good_parts_alone():
    good, _ = examples(good=400)
    calibration = Calibration.fit(good, good, 0.01, review_alpha=0.1)
    above = np.count_nonzero(good > calibration.review_threshold)
    assert above == 39  # of 401 ranks 40, one of them the next part's
    assert "At most 10 % of good parts are rejected or reviewed." in calibration.promise()
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    with pytest.raises(CalibrationError, match="review_alpha must be at least alpha"):
        Calibration.fit(good, good, 0.05, review_alpha=0.01)


@pytest.mark.parametrize(("count", "total"), [(0, 40), (1, 1), (3, 40), (39, 40), (40, 40)])
def test_a_rates_interval_is_clopper_and_pearsons(count, total):
    for level in (0.9, 0.95):
        interval = binomtest(count, total).proportion_ci(level)
        assert rate_interval(count, total, level) == pytest.approx((interval.low, interval.high))

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from model.calibration.calibration import Calibration, conformal_quantile
from model.errors import CalibrationError, NonFiniteOutput
from model.inspection import Decision

REAL_SCORES = Path(__file__).parents[2] / "reference" / "solar_good_scores.json"
"""Raw scores of good cells that the shipped network has not seen (`demo/good_scores.py`)."""


def fit(scores, alpha=0.01):
    return Calibration.fit(scores, scores, alpha=alpha)


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [
        (99, 0.01, 99),
        (100, 0.01, 100),
        (199, 0.01, 198),
        (98, 0.01, 98),  # too few: the largest
        (1, 0.01, 1),
        (9, 0.5, 5),
        (99, 0.29, 71),  # 100 x 0.29 is 28.999999999999996 in floats
        (9, 0.95, 1),
    ],
)
def test_threshold_is_the_kth_smallest_score(n, alpha, rank):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert conformal_quantile(scores, alpha) == rank


def test_ties_keep_equal_parts_accepted():
    scores = [1.0] * 150 + [2.0] * 50
    calibration = fit(scores, alpha=0.01)
    assert calibration.image_threshold == 2.0
    assert calibration.score(2.0) == 0.5
    assert np.mean(np.array(scores) > calibration.image_threshold) == 0


@pytest.mark.parametrize("n", [20, 99, 120, 260])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("distribution", ["normal", "lognormal", "tied"])
def test_realised_false_reject_rate_averages_at_most_the_promise(n, alpha, distribution):
    rng = np.random.default_rng(7)
    draws = 2000
    parts = rng.normal(size=(draws, n + 50))
    if distribution == "lognormal":
        parts = np.exp(2 * parts)
    if distribution == "tied":
        parts = np.round(parts, 1)
    thresholds = np.array([conformal_quantile(row[:n], alpha) for row in parts])
    rates = np.mean(parts[:, n:] > thresholds[:, None], axis=1)
    promised = fit(parts[0, :n], alpha).guaranteed_rate
    error = 4 * rates.std() / math.sqrt(draws)
    assert rates.mean() <= promised + error
    if distribution != "tied":  # without ties the promise is met exactly
        assert rates.mean() >= promised - error


def test_promise_holds_over_random_splits_of_one_finite_set():
    rng = np.random.default_rng(11)
    pool = rng.gamma(2.0, size=400)
    rates = []
    for _ in range(500):
        shuffled = rng.permutation(pool)
        calibration = fit(shuffled[:150], alpha=0.02)
        rates.append(np.mean(shuffled[150:] > calibration.image_threshold))
    assert np.mean(rates) <= 0.02 + 4 * np.std(rates) / math.sqrt(len(rates))


@pytest.mark.parametrize("category", ["solar-mono", "solar-poly"])
@pytest.mark.parametrize(("n", "alpha"), [(120, 0.01), (120, 0.05), (60, 0.1), (40, 0.01)])
def test_real_good_parts_are_rejected_as_often_as_theory_says(category, n, alpha):
    """200 random splits of real cells: counts follow their distribution, 95 % meet the bound."""
    pool = np.array(json.loads(REAL_SCORES.read_text())[category])
    rng = np.random.default_rng(2026)
    rejected, within, new_count = [], [], len(pool) - n
    for _ in range(200):
        shuffled = rng.permutation(pool)
        calibration = fit(shuffled[:n], alpha)
        rejected.append(int(np.sum(shuffled[n:] > calibration.image_threshold)))
        within.append(rejected[-1] / new_count <= calibration.rate_bound(0.95))
    above = round(calibration.guaranteed_rate * (n + 1))
    law = stats.betabinom(
        new_count, above, n + 1 - above
    )  # of the next `new_count` parts, by exchangeability
    assert (
        np.mean(rejected) / new_count
        <= calibration.guaranteed_rate + 4 * law.std() / new_count / 200**0.5
    )
    assert np.mean(rejected) == pytest.approx(law.mean(), abs=4 * law.std() / 200**0.5)
    bound = law.cdf(math.floor(calibration.rate_bound(0.95) * new_count))
    assert np.mean(within) == pytest.approx(bound, abs=4 * math.sqrt(bound * (1 - bound) / 200))
    assert bound > 0.85  # below 95 % only because so few parts are counted


def test_rate_bound_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    uniform = rng.uniform(size=(4000, 120))
    realised = 1 - np.array([conformal_quantile(row, 0.05) for row in uniform])
    bound = fit(uniform[0], alpha=0.05).rate_bound(0.9)
    assert np.mean(realised <= bound) == pytest.approx(0.9, abs=0.02)


def test_guaranteed_rate_is_exact():
    assert fit(np.arange(99.0)).guaranteed_rate == 0.01
    assert fit(np.arange(120.0)).guaranteed_rate == 1 / 121
    assert fit(np.arange(9.0)).guaranteed_rate == 0.1
    assert fit([1.0]).guaranteed_rate == 0.5


def test_promise_says_what_enough_images_promise():
    promise = fit(np.arange(120.0)).promise()
    assert promise.startswith(
        "Of good parts like the 120 held out, at most 1 % are rejected on average "
        "(needs at least 99 good images; have 120)."
    )
    assert "95 % confidence" in promise


def test_promise_says_when_images_are_too_few():
    promise = fit(np.arange(9.0)).promise()
    assert promise.startswith("9 held-out good images cannot promise 1 % (needs at least 99)")
    assert "at most 10 % are rejected on average" in promise
    assert fit([1.0]).promise().startswith("1 held-out good image cannot promise")


@pytest.mark.parametrize(("alpha", "needed"), [(0.01, 99), (0.05, 19), (0.3, 3), (0.5, 1)])
def test_images_needed_is_the_turning_point(alpha, needed):
    assert fit(np.arange(1.0, needed + 1), alpha).images_needed == needed
    assert fit(np.arange(1.0, needed + 1), alpha).guaranteed_rate <= alpha
    if needed > 1:
        assert fit(np.arange(1.0, needed), alpha).guaranteed_rate > alpha


def test_score_is_half_at_the_threshold_and_a_tenth_at_the_median():
    scores = np.random.default_rng(1).normal(5, 1, size=201)
    calibration = Calibration.fit(scores, 3 * scores, alpha=0.05)
    assert calibration.score(calibration.image_threshold) == 0.5
    assert calibration.score(np.median(scores)) == pytest.approx(0.1)
    assert calibration.pixel_score(calibration.pixel_threshold) == 0.5
    assert calibration.pixel_score(3 * np.median(scores)) == pytest.approx(0.1)


def test_score_rises_strictly_and_agrees_with_the_decision():
    calibration = fit(np.linspace(1, 2, 300), alpha=0.05)
    raws = np.linspace(-3, 8, 400)
    scores = np.array([calibration.score(raw) for raw in raws])
    assert np.all(np.diff(scores) > 0)
    assert np.array_equal(scores > 0.5, raws > calibration.image_threshold)


@pytest.mark.parametrize("raw", [-math.inf, -1e308, 0.0, 1e308, math.inf])
def test_score_stays_inside_zero_and_one(raw):
    assert 0 < fit(np.linspace(1, 2, 50)).score(raw) < 1


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0, 1e-300])
def test_equal_scores_still_give_a_usable_scale(value):
    calibration = fit([value] * 120)
    step = abs(value) or 1.0
    assert calibration.score(value) == 0.5
    assert calibration.score(value + step) == pytest.approx(0.9)
    assert calibration.score(value - step) == pytest.approx(0.1)


def test_nan_has_no_score():
    with pytest.raises(NonFiniteOutput, match="NaN"):
        fit([1.0, 2.0]).score(math.nan)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_impossible_alpha_is_an_error(alpha):
    with pytest.raises(CalibrationError, match="alpha must be between 0 and 1"):
        fit([1.0, 2.0], alpha=alpha)


@pytest.mark.parametrize(
    ("scores", "peaks", "message"),
    [
        ([], [], "at least one"),
        ([[1.0]], [1.0], "shape"),
        ([1.0, math.nan], [1.0, 2.0], "1 of 2 are not"),
        ([1.0, 2.0], [1.0, math.inf], "pixel_peaks must be finite"),
        ([1.0, 2.0], [1.0], "one pixel peak per raw score, got 1 and 2"),
    ],
)
def test_unusable_scores_are_an_error(scores, peaks, message):
    with pytest.raises(CalibrationError, match=message):
        Calibration.fit(scores, peaks)


def test_round_trips_through_json():
    calibration = fit(np.random.default_rng(2).normal(size=150).astype(np.float32))
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


def test_review_lies_between_the_thresholds():
    calibration = fit([1.0, 2.0]).with_thresholds(image=2.0, review=1.5)
    decided = {raw: calibration.decide(raw) for raw in (1.5, math.nextafter(1.5, 2), 2.0)}
    assert list(decided.values()) == [Decision.OK, Decision.REVIEW, Decision.REVIEW]
    assert calibration.decide(math.nextafter(2.0, 3)) == Decision.NG
    assert fit([1.0, 2.0]).decide(2.0) == Decision.OK
    with pytest.raises(NonFiniteOutput):
        calibration.decide(math.nan)


def test_other_thresholds_keep_the_scales():
    calibration = fit([1.0, 2.0, 4.0])
    moved = calibration.with_thresholds(image=3.0, review=2.0)
    assert (moved.image_threshold, moved.review_threshold) == (3.0, 2.0)
    assert (moved.image_scale, moved.pixel_threshold) == (calibration.image_scale, 4.0)
    assert moved.score(3.0) == 0.5
    assert Calibration.from_dict(json.loads(json.dumps(moved.to_dict()))) == moved
    assert "review_threshold" not in moved.with_thresholds(image=3.0).to_dict()


@pytest.mark.parametrize("review", [3.0, 3.5, math.nan, -math.inf])
def test_an_impossible_review_threshold_is_an_error(review):
    with pytest.raises(CalibrationError, match="review_threshold must be finite and below"):
        fit([1.0, 2.0]).with_thresholds(image=3.0, review=review)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1.0}, "must have the fields"),
        ({"alpha": "0.01"}, "alpha must be a number"),
        ({"image_scale": 0.0}, "scales must be above 0"),
        ({"pixel_threshold": math.nan}, "pixel_threshold must be finite"),
        ({"good_images": 0}, "good_images must be 1 to"),
        ({"good_quantiles": 1.0}, "good_quantiles must be a list"),
        ({"good_quantiles": ["1"] * 21}, "good_quantiles must be a number"),
        ({"good_quantiles": [1.0] * 20}, "good_quantiles must be 21 finite"),
        ({"good_quantiles": [1.0] * 20 + [0.5]}, "good_quantiles must be 21 finite"),
        ({"good_quantiles": [1.0] * 20 + [math.inf]}, "good_quantiles must be finite"),
    ],
)
def test_damaged_dictionaries_are_an_error(change, message):
    values = fit([1.0, 2.0]).to_dict() | change
    with pytest.raises(CalibrationError, match=message):
        Calibration.from_dict(values)


def test_the_quantiles_are_those_of_the_held_out_scores():
    calibration = fit(range(101))
    assert calibration.good_quantiles == pytest.approx(tuple(range(0, 101, 5)))
    assert calibration.with_thresholds(image=3.0).good_quantiles == calibration.good_quantiles


def test_manifests_from_before_the_quantiles_are_read():
    values = fit([1.0, 2.0]).to_dict()
    del values["good_quantiles"]
    calibration = Calibration.from_dict(values)
    assert calibration.good_quantiles is None
    assert calibration.to_dict() == values


def test_missing_field_is_an_error():
    values = fit([1.0, 2.0]).to_dict()
    del values["alpha"]
    with pytest.raises(CalibrationError, match="must have the fields"):
        Calibration.from_dict(values)

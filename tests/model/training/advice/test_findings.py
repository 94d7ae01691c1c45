"""Rates, intervals and leads, against counts by hand and definitions written out."""

import numpy as np
import pytest
from scipy.optimize import brentq

from model.calibration.calibration import Calibration
from model.calibration.conformal import conformal_quantile
from model.metrics import auroc
from model.synthetic import Kind, Strength
from model.training.advice.findings import LEAST_PARTS, find
from model.training.advice.rates import FoundRate, wilson
from model.training.advice.scores import DrawnPart, Scores, joined

KINDS, STRENGTHS = list(Kind), list(Strength)


def calibrated(good, alpha=0.05):
    return Calibration.fit(good, good, alpha)


def scored(parts, drawings, score, rival=None, seed=0):
    """`score(rng, good_score, strength)` scores a drawn defect."""
    rng = np.random.default_rng(seed)
    good = {"MambaAD": rng.normal(size=parts)}
    if rival:
        good["PatchCore"] = rng.normal(size=parts)
    drawn = []
    for number in range(drawings):
        part, strength = number % parts, STRENGTHS[number % 3]
        scores = {"MambaAD": float(score(rng, good["MambaAD"][part], strength))}
        if rival:
            scores["PatchCore"] = float(rival(rng, good["PatchCore"][part], strength))
        kind = KINDS[number // 3 % len(KINDS)]
        drawn.append(DrawnPart(part, kind.value, strength.value, scores))
    columns = {name: tuple(values.tolist()) for name, values in good.items()}
    return Scores(columns, tuple(drawn), trained_on=20, fitted_on=20)


def blind(rng, _good, _strength):
    """A score that does not depend on the image."""
    return rng.normal()


def sharp(_rng, good, _strength):
    return good + 100


def test_a_network_that_sees_nothing_finds_about_alpha():
    scores = scored(199, 5400, blind)
    found = find(scores, calibrated(scores.good["MambaAD"])).network
    assert found.found.rate == pytest.approx(0.05, abs=0.03)
    assert found.image_auroc == pytest.approx(0.5, abs=0.06)


def test_a_network_that_sees_everything_finds_everything():
    scores = scored(20, 216, sharp)
    findings = find(scores, calibrated(scores.good["MambaAD"]))
    assert findings.network.found == FoundRate(216, 216)
    assert findings.network.image_auroc == 1
    assert all(rate.rate == 1 for rate in [*findings.kinds.values(), *findings.strengths.values()])


def test_rates_equal_a_count_by_hand():
    scores = scored(12, 270, lambda rng, good, _: good + rng.exponential(2))
    calibration = calibrated(scores.good["MambaAD"], 0.1)
    findings = find(scores, calibration)
    for name, rates in (("kind", findings.kinds), ("strength", findings.strengths)):
        for value, rate in rates.items():
            of_value = [d for d in scores.drawn if getattr(d, name) == value]
            above = [d for d in of_value if d.scores["MambaAD"] > calibration.image_threshold]
            assert (rate.found, rate.drawn) == (len(above), len(of_value))
        assert sum(rate.drawn for rate in rates.values()) == 270
    good, drawn = scores.good["MambaAD"], [d.scores["MambaAD"] for d in scores.drawn]
    labels = np.array([False] * len(good) + [True] * len(drawn))
    assert findings.network.image_auroc == pytest.approx(auroc(labels, np.array([*good, *drawn])))
    assert (findings.parts, findings.drawn_parts) == (12, 12)


def test_a_rival_has_the_conformal_threshold_of_the_same_parts():
    scores = scored(12, 54, blind, sharp)
    findings = find(scores, calibrated(scores.good["MambaAD"], 0.1))
    expected = conformal_quantile(scores.good["PatchCore"], 0.1)
    assert findings.methods["PatchCore"].threshold == expected
    assert findings.best_rival == "PatchCore"
    assert findings.leads["PatchCore"].is_clear
    mirrored = find(scored(12, 54, sharp, blind), calibrated(scores.good["MambaAD"], 0.1))
    assert mirrored.leads["PatchCore"].is_clearly_behind


def test_a_lead_among_few_parts_has_no_interval_and_is_not_clear():
    scores = scored(LEAST_PARTS - 1, 54, blind, sharp)
    lead = find(scores, calibrated(scores.good["MambaAD"])).leads["PatchCore"]
    assert lead.image_auroc > 0.2
    assert lead.interval is None
    assert not lead.is_clear


def test_equal_methods_are_rarely_called_ahead():
    """The interval of a true difference of 0 excludes it in few of many repetitions."""

    def weak(rng, good, _strength):
        return good + rng.normal(1)

    clear = 0
    for seed in range(40):
        scores = scored(15, 135, weak, weak, seed)
        lead = find(scores, calibrated(scores.good["MambaAD"])).leads["PatchCore"]
        low, high = lead.interval
        assert low < lead.image_auroc < high
        clear += lead.is_clear or lead.is_clearly_behind
    assert clear <= 8


def test_a_larger_alpha_is_reported_only_where_its_threshold_is_lower():
    scores = scored(99, 270, lambda rng, good, _: good + rng.exponential(1))
    calibration = calibrated(scores.good["MambaAD"], 0.01)
    rates = find(scores, calibration).at_rates
    assert list(rates) == [0.05, 0.02]
    threshold = conformal_quantile(scores.good["MambaAD"], 0.05)
    assert rates[0.05].found == sum(d.scores["MambaAD"] > threshold for d in scores.drawn)
    few = scored(10, 27, blind)  # the threshold is the highest score for each of these rates
    assert find(few, calibrated(few.good["MambaAD"], 0.01)).at_rates == {}


def test_a_part_in_review_was_found():
    scores = scored(50, 270, lambda rng, good, _: good + rng.exponential(1))
    plain = calibrated(scores.good["MambaAD"], 0.02)
    review = plain.with_thresholds(image=plain.image_threshold, review=plain.image_threshold - 1)
    assert find(scores, review).network.found.found > find(scores, plain).network.found.found


@pytest.mark.parametrize(("count", "total"), [(0, 9), (1, 9), (5, 27), (27, 27), (151, 216)])
def test_an_interval_has_the_rates_that_a_score_test_does_not_reject(count, total):
    """Wilson's limits solve |count / total - p| = z sqrt(p (1 - p) / total)."""
    rate, z = count / total, 1.959963984540054

    def distance(p):
        return abs(rate - p) - z * np.sqrt(p * (1 - p) / total)

    low, high = wilson(count, total)
    if count:
        assert low == pytest.approx(brentq(distance, 1e-12, rate - 1e-12))
    if count < total:
        assert high == pytest.approx(brentq(distance, rate + 1e-12, 1 - 1e-12))
    assert 0 <= low <= rate <= high <= 1


def test_scores_of_folds_are_joined_as_those_of_one_set_of_parts():
    first, second = scored(4, 27, blind, sharp), scored(5, 54, blind, sharp, seed=1)
    both = joined([first, second])
    assert both.good["PatchCore"] == first.good["PatchCore"] + second.good["PatchCore"]
    assert [d.part for d in both.drawn[27:]] == [d.part + 4 for d in second.drawn]
    assert Scores.from_dict(both.to_dict()) == both
    assert joined([first, scored(4, 27, blind)]).methods == ("MambaAD",)

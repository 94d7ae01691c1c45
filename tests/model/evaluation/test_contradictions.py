"""Test images that contradict what a threshold promises."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.calibration.calibration import Calibration
from model.calibration.operating_point import EscapeRate, HighestF1
from model.dataset import Sample
from model.evaluation.contradictions import contradictions, remarks
from model.evaluation.results import Evaluation, ImageRecord
from model.inspection import Decision

EIGHT = Calibration.fit([float(n) for n in range(8)], [1.0] * 8)  # at most 31.2 % with confidence


def evaluation(**decisions):
    """Give the counts of OK, REVIEW and NG for each kind of part."""
    records = [
        ImageRecord(Sample(Path(f"{kind}{n}.png"), "bolt", kind), 1.0, 0.5, 1.0, decision)
        for kind, counts in decisions.items()
        for decision, count in zip((Decision.OK, Decision.REVIEW, Decision.NG), counts, strict=True)
        for n in range(count)
    ]
    return Evaluation({"bolt": None}, tuple(records))


def contradictions_of(evaluation, calibration=EIGHT):
    return contradictions(evaluation, {"bolt": calibration})


def test_a_promise_that_every_test_image_breaks_is_said():
    assert EIGHT.rate_bound() == pytest.approx(0.312, abs=0.001)
    (contradiction,) = contradictions_of(evaluation(good=(0, 0, 10)))
    assert (contradiction.rate, contradiction.count, contradiction.images) == (
        "false_reject_rate",
        10,
        10,
    )
    text = contradiction.text()
    assert "not like those that set the threshold" in text
    assert "At most 31.2 % of good parts rejected is promised with 95 % confidence" in text
    assert "10 of 10 (100 %) were" in text
    assert remarks([contradiction]) == {("bolt", "false_reject_rate"): [text]}


@pytest.mark.parametrize("good", [(10, 0, 0), (7, 0, 3), (0, 0, 1), (0, 0, 2), (1, 9, 0)])
def test_what_may_be_chance_contradicts_nothing(good):
    assert contradictions_of(evaluation(good=good)) == []


def test_thresholds_without_a_promise_cannot_be_contradicted():
    goods = [float(n) for n in range(8)]
    f1 = EIGHT.for_goal(HighestF1(), goods, [3.0, 4.0, 5.0])
    assert f1.operating_point is not None
    assert not f1.operating_point.keeps_alpha
    assert contradictions_of(evaluation(good=(0, 0, 10)), f1) == []


def test_an_escape_rate_is_a_promise_too():
    goods = [float(n) for n in range(8)]
    calibration = EIGHT.for_goal(EscapeRate(0.1), goods, [20.0 + n for n in range(30)])
    (contradiction,) = contradictions_of(evaluation(scratch=(20, 0, 0)), calibration)
    assert contradiction.rate == "escape_rate"
    assert "20 of 20" in contradiction.text()
    assert "defective test images" in contradiction.text()
    assert contradictions_of(evaluation(scratch=(1, 9, 10)), calibration) == []


def test_a_band_for_review_is_a_promise_too():
    scores = [float(n) for n in range(100)]
    banded = Calibration.fit(scores, scores, 0.02, review_alpha=0.1)
    assert contradictions_of(evaluation(good=(95, 5, 0)), banded) == []
    (contradiction,) = contradictions_of(evaluation(good=(10, 40, 0)), banded)
    assert "rejected or reviewed" in contradiction.text()


def test_folds_estimate():
    (contradiction,) = contradictions_of(evaluation(good=(0, 0, 10)), replace(EIGHT, folds=5))
    assert "is estimated" in contradiction.text()

"""Criteria against figures counted by hand."""

import pytest

from model.criteria import check_kinds, parse
from model.errors import DatasetError
from model.evaluation.acceptance import judge
from model.metrics import wilson
from model.metrics.resampling import interval
from tests.model.evaluation.records import evaluation_of, record, records_of

# 1 of 10 good parts is NG; of 10 cracks 1 is OK and 1 REVIEW, of 2 dents none is OK.
PARTS = evaluation_of(
    records_of(good=[0.1] * 8 + [0.45, 0.9], crack=[0.1, 0.45] + [0.8] * 8, dent=[0.8, 0.9])
)


@pytest.mark.parametrize(
    ("text", "value", "images", "is_accepted"),
    [
        ("escapes<=9%", 1 / 12, 12, True),
        ("escapes<=8%", 1 / 12, 12, False),
        ("escapes[crack]<=10%", 0.1, 10, True),
        ("escapes[crack]<=9.9%", 0.1, 10, False),
        ("escapes[dent]<=0%", 0.0, 2, True),
        ("false-rejects<=10%", 0.1, 10, True),
        ("false-rejects<=5%", 0.1, 10, False),
    ],
)
def test_rates(text, value, images, is_accepted):
    (judgement,) = judge([parse(text)], PARTS)
    assert judgement.value == pytest.approx(value)
    assert (judgement.images, judgement.is_accepted, judgement.bound) == (images, is_accepted, None)
    assert judgement.is_few
    assert judgement.verdict == ("PASS" if is_accepted else "FAIL")
    assert "fewer than 30" in judgement.text()


def test_at_a_level_the_upper_end_must_keep_the_limit():
    high = wilson(0, 2, 0.95)[1]
    assert high == pytest.approx(3.8415 / (2 + 3.8415), abs=1e-4)
    (kept,), (broken,) = (
        judge([parse(f"escapes[dent]<={100 * limit}% at 95%")], PARTS)
        for limit in (round(high + 0.001, 4), round(high - 0.001, 4))
    )
    assert kept.bound == broken.bound == high
    assert (kept.is_accepted, broken.is_accepted) == (True, False)
    (lower,) = judge([parse("escapes[dent]<=5% at 50%")], PARTS)
    assert 0 < lower.bound < high


def test_ranking_and_the_lower_end_of_its_interval():
    metrics = PARTS.categories["bolt"]
    (plain, bound) = judge([parse("image-auroc>=50%"), parse("image-auroc>=50% at 90%")], PARTS)
    assert plain.value == metrics.image_auroc
    assert plain.is_accepted
    assert bound.bound == interval(PARTS.replicates["bolt"]["image_auroc"], 0.9)[0]
    assert bound.bound < bound.value
    limit = f"image-auroc>={100 * (bound.bound + 0.001):.4f}% at 90%"
    assert not judge([parse(limit)], PARTS)[0].is_accepted


@pytest.mark.parametrize(
    ("text", "kinds", "missing"),
    [
        ("aupro>=1%", {"good": [0.1], "crack": [0.9]}, "no defects with a mask"),
        ("image-auroc>=1%", {"good": [0.1]}, "one kind only"),
        ("escapes<=100%", {"good": [0.1]}, "no defective test images"),
        ("false-rejects<=100%", {"crack": [0.9]}, "no good test images"),
    ],
)
def test_a_figure_that_does_not_exist_is_never_accepted(text, kinds, missing):
    (judgement,) = judge([parse(text)], evaluation_of(records_of(**kinds)))
    assert (judgement.is_accepted, judgement.value) == (False, None)
    assert missing in judgement.missing
    assert missing in judgement.text()


def test_every_category_must_keep_a_limit_and_a_kind_where_it_exists():
    both = evaluation_of(
        [*records_of(good=[0.1], crack=[0.9]), record("good", 0.9, 0, category="nut"),
         record("dent", 0.9, 1, category="nut")]
    )  # fmt: skip
    judgements = judge([parse("false-rejects<=50%"), parse("escapes[dent]<=5%")], both)
    assert [(j.category, j.criterion.figure, j.is_accepted) for j in judgements] == [
        ("bolt", "false-rejects", True),
        ("nut", "false-rejects", False),
        ("nut", "escapes", True),
    ]
    assert judgements[0].to_dict()["accepted"] is True


def test_an_unknown_kind_is_refused_with_those_that_exist():
    criteria = [parse("escapes[crak]<=5%")]
    with pytest.raises(DatasetError, match=r"'crak'; the kinds of defect are crack, dent"):
        check_kinds(criteria, ["dent", "crack", "dent"])
    with pytest.raises(DatasetError, match="are none"):
        check_kinds(criteria, [])
    check_kinds([parse("escapes[crack]<=5%"), parse("escapes<=5%")], ["crack"])

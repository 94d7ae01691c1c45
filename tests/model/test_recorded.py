"""Evaluations of several categories and data sets, side by side in a manifest."""

import pytest

from model.recorded import MOST_EVALUATIONS, recorded, recorded_with, recorded_without


def results(data, **digests):
    """An evaluation of `data`; the digest of each category's images."""
    return {
        "categories": {name: {"image_auroc": 0.9, "of": data} for name in digests},
        "mean": {"image_auroc": 0.9},
        "contradictions": [{"category": name} for name in digests],
        "baselines": {
            "categories": {name: [data] for name in digests},
            "mean": [data],
            "times": {},
        },
        "test_images": {"checked": True, "seen": 0},
        "evaluated": {
            "data": data,
            "categories": {name: {"sha256": digest} for name, digest in digests.items()},
        },
    }


def stored(metrics):
    """Which data stands for each category, the newest evaluation first."""
    return [{name: of["of"] for name, of in r["categories"].items()} for r in recorded(metrics)]


def test_nothing_is_recorded_at_first():
    assert recorded({}) == []
    first = results("march", bolt="1")
    assert recorded_with({}, first) == first
    assert recorded(first) == [first]


def test_categories_evaluated_one_after_the_other_stay():
    metrics = recorded_with(
        recorded_with({}, results("march", bolt="1")), results("march", nut="2")
    )
    assert stored(metrics) == [{"nut": "march"}, {"bolt": "march"}]
    assert metrics["categories"].keys() == {"nut"}  # what older programs read is the newest


def test_other_images_of_a_category_stay_beside_it():
    metrics = recorded_with({}, results("march", bolt="1"))
    metrics = recorded_with(metrics, results("april", bolt="3"))
    assert stored(metrics) == [{"bolt": "april"}, {"bolt": "march"}]


def test_the_same_images_again_replace_their_results_alone():
    metrics = recorded_with({}, results("march", bolt="1", nut="2"))
    metrics = recorded_with(metrics, results("april", bolt="3"))
    metrics = recorded_with(metrics, results("again", bolt="1"))
    assert stored(metrics) == [{"bolt": "again"}, {"bolt": "april"}, {"nut": "march"}]
    rest = recorded(metrics)[2]
    # The mean, and the verdict, were of both categories.
    assert "mean" not in rest
    assert rest["contradictions"] == [{"category": "nut"}]
    assert rest["baselines"] == {"categories": {"nut": ["march"]}, "times": {}}
    assert rest["evaluated"] == {"data": "march", "categories": {"nut": {"sha256": "2"}}}


def test_results_of_an_older_program_are_replaced_by_category():
    older = {"categories": {"bolt": {"of": "?"}, "nut": {"of": "?"}}, "mean": {}}
    metrics = recorded_with(older, results("march", bolt="1"))
    assert stored(metrics) == [{"bolt": "march"}, {"nut": "?"}]


def test_new_thresholds_take_a_categorys_results_away():
    metrics = recorded_with({}, results("march", bolt="1", nut="2"))
    metrics = recorded_with(metrics, results("april", bolt="3"))
    assert stored(recorded_without(metrics, {"bolt"})) == [{"nut": "march"}]
    assert recorded_without(metrics, {"bolt", "nut"}) == {}
    assert recorded_without(metrics, {"cog"}) == metrics


def test_the_oldest_of_many_are_forgotten():
    metrics = {}
    for number in range(MOST_EVALUATIONS + 5):
        metrics = recorded_with(metrics, results(str(number), bolt=str(number)))
    kept = [entry["bolt"] for entry in stored(metrics)]
    assert kept == [str(n) for n in range(MOST_EVALUATIONS + 4, 4, -1)]


@pytest.mark.parametrize(
    "strange",
    [
        {"earlier": 7},
        {"earlier": [1, None, {"categories": []}], "categories": "bolt"},
        {"categories": {"bolt": 3}, "evaluated": [], "contradictions": 1, "baselines": "x"},
        {"image_auroc": 1.0},
    ],
)
def test_a_strangers_manifest_is_no_error(strange):
    metrics = recorded_with(strange, results("march", bolt="1"))
    assert stored(metrics)[0] == {"bolt": "march"}
    assert len(recorded(metrics)) == 1
    recorded_without(strange, {"nut"})

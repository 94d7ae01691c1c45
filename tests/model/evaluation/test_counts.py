"""Decisions by kind and by size, counted by hand."""

from itertools import pairwise

import pytest

from model.evaluation.counts import AREAS, by_size, tallies
from model.metrics import wilson
from tests.model.evaluation.records import record, records_of


def test_decisions_by_kind():
    rows = tallies(records_of(good=[0.1, 0.45, 0.6, 0.2], dent=[0.1, 0.9], crack=[0.45, 0.3, 0.8]))
    counts = {row.kind: (row.ok, row.review, row.ng) for row in rows}
    assert counts == {
        "good": (2, 1, 1), "crack": (1, 1, 1), "dent": (1, 0, 1), "all defects": (2, 1, 2)
    }  # fmt: skip
    assert [row.kind for row in rows] == ["good", "crack", "dent", "all defects"]
    assert {row.kind: row.rate for row in rows} == pytest.approx(
        {"good": 1 / 4, "crack": 1 / 3, "dent": 1 / 2, "all defects": 2 / 5}
    )
    assert rows[-1].interval == wilson(2, 5)
    assert rows[0].to_dict()["interval"] == list(wilson(1, 4))


def test_one_kind_of_defect_has_no_sum_and_no_parts_no_row():
    assert [row.kind for row in tallies(records_of(crack=[0.9]))] == ["crack"]
    assert [row.kind for row in tallies(records_of(good=[0.1]))] == ["good"]


@pytest.mark.parametrize(("images", "few"), [(29, True), (30, False)])
def test_fewer_than_thirty_images_are_few(images, few):
    assert tallies(records_of(good=[0.1] * images))[0].is_few is few


def test_found_defects_by_the_share_of_the_image():
    found, passed, reviewed = 0.9, 0.1, 0.45
    marked = [
        record("crack", found, 0, area=0.0005),
        record("crack", passed, 1, area=0.0005),
        record("crack", reviewed, 2, area=0.003),  # on an edge: in the upper bin, and found
        record("dent", passed, 3, area=0.009),
        record("dent", found, 4, area=1.0),
        record("dent", found, 5),  # without a mask
        record("good", found, 6),
    ]
    bins = by_size(marked)
    assert [(b.low, b.high) for b in bins] == list(pairwise(AREAS))
    assert [(b.images, b.found) for b in bins] == [(2, 1), (0, 0), (2, 1), (0, 0), (0, 0), (1, 1)]
    assert (bins[0].rate, bins[0].interval) == (0.5, wilson(1, 2))
    assert (bins[1].rate, bins[1].interval) == (None, None)
    assert bins[1].to_dict()["interval"] is None

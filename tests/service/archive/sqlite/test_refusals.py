"""Refusals are rows of their own until they are a flood; the memory for them is bounded."""

from service.archive.sqlite.refusals import Refusals
from tests.service.archive.journals import refusal


def test_as_many_as_a_line_has_parts_are_rows_of_their_own():
    refusals = Refusals()
    several = [refusal() for _ in range(20)]
    assert all(refusals.add(one, 0.0) for one in several)
    assert refusals.take(0.0) == several
    assert refusals.take(9.0) == []
    assert refusals.next_due() is None


def test_the_others_of_a_second_are_one_row_at_its_end():
    refusals = Refusals()
    flood = [refusal() for _ in range(120)]
    for number, one in enumerate(flood):
        refusals.add(one, number / 1000)
    assert refusals.take(0.5) == flood[:20]
    assert refusals.next_due() == 1.0
    assert refusals.take(0.999) == []
    (row,) = refusals.take(1.0)
    assert (row.inspection_id, row.repeats) == (flood[20].inspection_id, 100)
    refusals.add(flood[0], 1.5)
    assert refusals.take(1.5) == [flood[0]]


def test_each_category_station_problem_and_caller_is_a_kind():
    refusals = Refusals()
    kinds = [
        refusal(), refusal(category="nut"), refusal(station="saw"), refusal(station=None),
        refusal(problem="body-too-large"), refusal(caller="line-2"),
    ]  # fmt: skip
    for _ in range(25):
        for one in kinds:
            refusals.add(one, 0.0)
    assert len(refusals.take(0.0)) == 6 * 20
    assert [row.repeats for row in refusals.take(1.0)] == [5] * 6


def test_an_open_flood_is_written_at_the_end():
    refusals = Refusals()
    for _ in range(30):
        refusals.add(refusal(), 0.0)
    assert len(refusals.take(0.0)) == 20
    assert [row.repeats for row in refusals.take(0.1, everything=True)] == [10]


def test_refusals_of_ever_new_kinds_take_a_bounded_memory():
    refusals = Refusals()
    accepted = [refusals.add(refusal(caller=f"c{number}"), 0.0) for number in range(3_000)]
    assert accepted == [True] * 1_000 + [False] * 2_000
    assert len(refusals.take(0.0)) == 1_000
    assert not refusals.add(refusal(caller="another"), 0.5)
    assert refusals.add(refusal(caller="another"), 1.0)

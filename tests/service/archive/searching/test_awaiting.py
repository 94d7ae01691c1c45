"""What waits for a person: the order, the filters, the sample of good parts, the index."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event

from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.records import Verdict
from service.archive.searching.awaiting import (
    MAX_COUNTED,
    MAX_SAMPLED,
    Queue,
    count_waiting,
    find_sampled,
    find_waiting,
    has_waiting,
)
from service.archive.searching.judging import NewVerdict, give
from service.archive.searching.sampling import is_sampled
from service.inspection.submission import Origin
from tests.service.archive.conftest import BEGIN

NOW = BEGIN + timedelta(hours=2)
SHARE = 0.2


def ids(records):
    return [record.inspection_id for record in records]


@pytest.fixture
def waiting(connection, part):
    """Parts that wait, oldest first, among those that do not."""
    waits = [part(told=told) for told in (Decision.NG, Decision.REVIEW, Decision.UNDECIDED)]
    waits.append(part(told=Decision.NG, category="nut", station="EL-2"))
    others = [
        part(told=Decision.OK),
        part(told=Decision.NG, origin=Origin.TEST),
        part(told=Decision.NG, verdict=Verdict.GOOD),
        part(told=Decision.REVIEW, verdict=Verdict.UNSURE),
    ]
    store.insert(connection, [*others, *waits])
    return waits


def test_what_was_not_told_ok_waits_in_the_order_of_time(connection, waiting):
    assert find_waiting(connection, Queue(), 9) == ids(waiting)[::-1]
    assert find_waiting(connection, Queue(is_oldest_first=True), 3) == ids(waiting)[:3]
    assert count_waiting(connection, Queue()) == 4
    assert has_waiting(connection)


def test_category_and_station_are_filters(connection, waiting):
    for queue in (Queue(category="nut"), Queue(station="EL-2")):
        assert find_waiting(connection, queue, 9) == ids(waiting)[3:]
        assert count_waiting(connection, queue) == 1
    assert find_waiting(connection, Queue(category="nut", station="EL-3"), 9) == []


def test_a_judged_part_waits_again_once_its_verdict_is_withdrawn(connection, waiting):
    first, second, *_ = ids(waiting)
    give(connection, first, NewVerdict(Verdict.GOOD, "Ada"))
    assert find_waiting(connection, Queue(is_oldest_first=True), 1) == [second]
    give(connection, first, NewVerdict(Verdict.WITHDRAWN, "Ada"))
    assert find_waiting(connection, Queue(is_oldest_first=True), 1) == [first]


def test_no_more_are_counted_than_a_person_needs_to_know(connection, part):
    store.insert(connection, [part(told=Decision.NG) for _ in range(MAX_COUNTED + 20)])
    assert count_waiting(connection, Queue()) == MAX_COUNTED + 1


def test_the_sample_has_the_share_of_good_parts_that_nobody_has_judged(connection, part):
    records = [part(station="EL-2" if n % 2 else None) for n in range(200)]
    records[0] = replace(records[0], verdict=Verdict.GOOD)
    tests = [part(origin=Origin.TEST) for _ in range(50)]
    rejected = [part(told=Decision.NG) for _ in range(50)]
    store.insert(connection, [*records, *tests, *rejected])
    sample = [one for one in ids(records[1:]) if is_sampled(one, SHARE)]
    assert 15 < len(sample) < 70
    assert find_sampled(connection, Queue(share=SHARE), NOW) == sample[::-1]
    assert find_sampled(connection, Queue(share=SHARE, is_oldest_first=True), NOW) == sample
    at_station = [one.inspection_id for one in records if one.station and one.verdict is None]
    found = find_sampled(connection, Queue(share=SHARE, station="EL-2"), NOW)
    assert found == [one for one in sample[::-1] if one in at_station]
    both = Queue(share=SHARE, station="EL-2", category="nut")
    assert find_sampled(connection, both, NOW) == []
    assert find_sampled(connection, Queue(share=0), NOW) == []
    give(connection, sample[0], NewVerdict(Verdict.GOOD, "Ada"))
    assert find_sampled(connection, Queue(share=SHARE), NOW) == sample[:0:-1]


def test_the_sample_of_a_fast_line_is_spread_over_the_week(connection, part):
    records = [
        part(received_at=BEGIN - timedelta(days=day) + timedelta(seconds=n))
        for day in (0, 3, 6, 9)
        for n in range(600)
    ]
    store.insert(connection, records)
    of_id = {record.inspection_id: record for record in records}
    found = find_sampled(connection, Queue(share=0.04), NOW)
    days = [(BEGIN - of_id[one].received_at).days for one in found if of_id[one]]
    ages = {round((BEGIN - of_id[one].received_at) / timedelta(days=1)) for one in found}
    assert ages == {0, 3, 6}
    assert days == sorted(days), "newest first"
    assert len(find_sampled(connection, Queue(share=1.0), NOW)) == MAX_SAMPLED


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("filters", [{}, {"category": "bolt"}, {"station": "EL-2"}])
def test_each_question_is_a_range_of_an_index(connection, filters):
    plans = []

    def explain(cursor, statement, values):
        rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", values)
        plans.append([row[3] for row in rows])

    @event.listens_for(connection, "before_cursor_execute")
    def listen(_connection, cursor, statement, values, _context, _many):
        explain(cursor, statement, values)

    queue = Queue(share=1.0, **filters)
    find_waiting(connection, queue, 2)
    count_waiting(connection, queue)
    for plan in plans:
        assert any("inspections_to_judge" in step for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan
    plans.clear()
    find_sampled(connection, queue, NOW)
    assert plans
    for plan in plans:
        assert plan[0].startswith("SEARCH inspections USING COVERING INDEX"), plan


def test_an_empty_archive_has_nothing_to_judge(connection):
    assert not has_waiting(connection)
    assert find_sampled(connection, Queue(share=1.0), NOW) == []
    assert find_waiting(connection, Queue(category=str(new_id())), 1) == []

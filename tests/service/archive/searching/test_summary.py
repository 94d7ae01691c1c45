"""Summaries: counts by time, decision, verdict and score, from the roll-ups alone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import delete, event

from model.inspection import Decision
from service.archive import store
from service.archive.records import Verdict
from service.archive.searching import judging
from service.archive.searching.judging import NewVerdict
from service.archive.searching.summary import Count, Period, Step, summarise
from service.archive.tables import inspections
from service.inspection.submission import Origin
from tests.service.archive.conftest import BEGIN

HOUR = timedelta(hours=1)
DAY = Period.around(BEGIN - 6 * HOUR, BEGIN + 18 * HOUR, Step.HOUR)


def counts(summary):
    return {(count.told.value, count.verdict): count.parts for count in summary.counts}


def test_parts_are_counted_by_hour_decision_and_verdict(connection, part):
    store.insert(
        connection,
        [
            part(received_at=BEGIN),
            part(received_at=BEGIN + HOUR - timedelta(microseconds=1)),
            part(received_at=BEGIN + HOUR, told=Decision.NG, verdict=Verdict.GOOD),
            part(received_at=BEGIN + HOUR, told=Decision.UNDECIDED, score=None, repeats=7),
        ],
    )
    summary = summarise(connection, DAY)
    assert [(step.at, list(step.counts)) for step in summary.steps] == [
        (BEGIN, [Count(Decision.OK, None, 2)]),
        (
            BEGIN + HOUR,
            [Count(Decision.NG, Verdict.GOOD, 1), Count(Decision.UNDECIDED, None, 7)],
        ),
    ]
    expected = {("OK", None): 2, ("NG", Verdict.GOOD): 1, ("UNDECIDED", None): 7}
    assert counts(summary) == expected


def test_days_are_those_of_utc(connection, part):
    store.insert(connection, [part(received_at=BEGIN + n * 6 * HOUR) for n in range(5)])
    period = Period.around(BEGIN - 6 * HOUR, BEGIN + 48 * HOUR, Step.DAY)
    steps = summarise(connection, period).steps
    assert [(step.at.isoformat(), step.counts[0].parts) for step in steps] == [
        ("2026-11-29T00:00:00+00:00", 3),
        ("2026-11-30T00:00:00+00:00", 2),
    ]


def test_scores_are_in_bins(connection, part):
    scores = [0.0, 0.019, 0.02, 0.5, 1.0, None]
    store.insert(connection, [part(score=score) for score in scores])
    (of_ok,) = summarise(connection, DAY).scores
    assert (of_ok.told, of_ok.without_score, sum(of_ok.bins)) == (Decision.OK, 1, 5)
    assert {number: n for number, n in enumerate(of_ok.bins) if n} == {0: 2, 1: 1, 25: 1, 49: 1}


def test_a_category_a_station_and_an_origin_are_counted_alone(connection, part):
    fields = [
        {"category": "nut"},
        {"station": "'; DROP TABLE rollups; --"},
        {"origin": Origin.LATE},
    ]
    store.insert(connection, [part(), *(part(**one) for one in fields)])
    for one in fields:
        assert counts(summarise(connection, DAY, **one)) == {("OK", None): 1}
    assert counts(summarise(connection, DAY, category="nut", station="EL-3")) == {}
    assert counts(summarise(connection, DAY)) == {("OK", None): 4}


def test_tests_do_not_count(connection, part):
    store.insert(connection, [part(origin=Origin.TEST)])
    assert summarise(connection, DAY).steps == []


def test_a_period_has_the_hours_that_its_times_touch(connection, part):
    store.insert(connection, [part(received_at=BEGIN), part(received_at=BEGIN + HOUR)])
    minutes = timedelta(minutes=20)
    period = Period.around(BEGIN + minutes, BEGIN + 2 * minutes, Step.HOUR)
    assert (period.since, period.until) == (BEGIN, BEGIN + HOUR)
    assert counts(summarise(connection, period)) == {("OK", None): 1}
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    local = Period.around(BEGIN.astimezone(elsewhere), BEGIN + HOUR, Step.HOUR)
    assert (local.since, local.until) == (BEGIN, BEGIN + HOUR)


def test_a_verdict_moves_a_part_from_one_count_to_the_other(connection, part):
    record = part(told=Decision.NG)
    store.insert(connection, [record, part(told=Decision.NG)])
    for verdict in (Verdict.DEFECTIVE, Verdict.GOOD):
        judging.give(connection, record.inspection_id, NewVerdict(verdict, "Ada"))
        expected = {("NG", None): 1, ("NG", verdict): 1}
        assert counts(summarise(connection, DAY)) == expected


def test_no_inspection_is_read(engine, part):
    with engine.begin() as connection:
        store.insert(connection, [part() for _ in range(5)])
        connection.execute(delete(inspections))
        statements = []
        event.listen(engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
        assert counts(summarise(connection, DAY)) == {("OK", None): 5}
    assert statements
    assert not [statement for statement in statements if "inspections" in statement]


@pytest.mark.parametrize(
    ("since", "until", "step", "steps"),
    [
        (BEGIN, BEGIN + 24 * HOUR, Step.HOUR, 26),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), Step.DAY, 2),
    ],
)
def test_the_number_of_steps_is_known_before_any_is_counted(since, until, step, steps):
    assert Period.around(since, until, step).steps == steps


def test_a_summary_reads_a_range_of_each_category(connection, part):
    store.insert(connection, [part(category=name) for name in ("bolt", "nut")])
    if connection.dialect.name == "sqlite":
        statements = []
        event.listen(
            connection, "before_cursor_execute", lambda *said: statements.append(said[2:4])
        )
        summarise(connection, DAY)
        ((statement, values),) = statements
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        steps = [row[-1] for row in plan]
        assert "SEARCH rollups USING PRIMARY KEY (category=? AND hour>? AND hour<?)" in steps
    assert len(counts(summarise(connection, DAY))) == 1

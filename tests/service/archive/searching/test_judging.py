"""Verdicts and holds: appended, and the newest stands, in whatever order they come."""

import itertools
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.records import HoldRecord, Verdict, VerdictRecord
from service.archive.searching import judging
from service.archive.searching.judging import (
    NewHold,
    NewVerdict,
    Seen,
    add,
    give,
    holds_of,
    verdicts_of,
)
from service.archive.searching.search import Filter, search
from service.archive.tables import rollups
from service.errors import InvalidRequest
from tests.service.archive.conftest import BEGIN

GOOD = NewVerdict(Verdict.GOOD, "Ada (quality)", None, "dust\n'; DROP TABLE verdicts; -- 😀")
BAD = NewVerdict(Verdict.DEFECTIVE, "Bob", "crack")
WITHDRAWN = NewVerdict(Verdict.WITHDRAWN, "Ada (quality)")


@pytest.fixture
def record(connection, part):
    record = part(told=Decision.NG)
    store.insert(connection, [record])
    return record


def counted(connection):
    """Return the parts by verdict, without counts of zero."""
    rows = connection.execute(select(rollups.c.verdict, rollups.c.parts))
    return {verdict: parts for verdict, parts in rows if parts}


def test_the_newest_verdict_stands_and_the_others_stay(connection, record):
    identifier = record.inspection_id
    for new in (GOOD, BAD):
        given = give(connection, identifier, new)
        assert given.is_new
        assert given.inspection.verdict is new.verdict
    assert store.find(connection, identifier).verdict is Verdict.DEFECTIVE
    newest, first = verdicts_of(connection, identifier)
    assert (newest.verdict, newest.author, newest.defect_class) == (
        Verdict.DEFECTIVE,
        "Bob",
        "crack",
    )
    assert first.comment == GOOD.comment
    assert counted(connection) == {"defective": 1}


def test_a_repeated_request_appends_nothing(connection, record):
    first = give(connection, record.inspection_id, GOOD)
    again = give(connection, record.inspection_id, GOOD)
    assert (again.is_new, again.judgement) == (False, first.judgement)
    assert give(connection, record.inspection_id, replace(GOOD, author="Bob")).is_new
    assert len(verdicts_of(connection, record.inspection_id)) == 2


def test_a_withdrawn_verdict_leaves_none(connection, record):
    identifier = record.inspection_id
    before = counted(connection)
    for new in (GOOD, BAD, WITHDRAWN):
        give(connection, identifier, new)
    assert store.find(connection, identifier).verdict is None
    assert counted(connection) == before == {"": 1}
    found = [one.inspection_id for one in search(connection, Filter(verdict="none"), 9).inspections]
    assert found == [identifier]
    given = [verdict.verdict for verdict in verdicts_of(connection, identifier)]
    assert given == [Verdict.WITHDRAWN, Verdict.DEFECTIVE, Verdict.GOOD]
    again = give(connection, identifier, replace(WITHDRAWN, author="Bob"))
    assert not again.is_new, "it was withdrawn already"
    assert give(connection, identifier, GOOD).is_new
    assert store.find(connection, identifier).verdict is Verdict.GOOD


def test_what_nobody_gave_cannot_be_withdrawn(connection, record):
    with pytest.raises(InvalidRequest):
        give(connection, record.inspection_id, WITHDRAWN)
    assert verdicts_of(connection, record.inspection_id) == []


def test_a_verdict_that_the_person_did_not_see_is_not_overwritten(connection, record):
    identifier = record.inspection_id
    first = give(connection, identifier, GOOD, Seen(None))
    refused = give(connection, identifier, BAD, Seen(None))
    assert (refused.is_new, refused.judgement) == (False, first.judgement)
    assert store.find(connection, identifier).verdict is Verdict.GOOD
    assert give(connection, identifier, BAD, Seen(first.judgement.event_id)).is_new
    assert not give(connection, identifier, WITHDRAWN, Seen(first.judgement.event_id)).is_new
    assert store.find(connection, identifier).verdict is Verdict.DEFECTIVE
    give(connection, identifier, WITHDRAWN)
    assert give(connection, identifier, GOOD, Seen(None)).is_new, "none stood any more"


def test_a_hold_is_released_by_the_next(connection, record):
    identifier = record.inspection_id
    assert give(connection, identifier, NewHold(True, "Ada", "audit")).inspection.is_held
    assert store.find(connection, identifier).is_held
    assert not give(connection, identifier, NewHold(False, "Ada")).inspection.is_held
    assert not store.find(connection, identifier).is_held
    assert [hold.is_held for hold in holds_of(connection, identifier)] == [False, True]


def test_an_unknown_inspection_cannot_be_judged(connection):
    assert give(connection, new_id(), GOOD) is None
    assert give(connection, new_id(), NewHold(True, "Ada")) is None
    assert add(connection, HoldRecord(new_id(), new_id(), True, "Ada", BEGIN)) is None


def test_a_clock_that_is_set_back_does_not_change_which_is_the_newest(connection, record):
    future = datetime.now(UTC) + timedelta(days=300)
    identifier = record.inspection_id
    add(connection, VerdictRecord(new_id(), identifier, Verdict.UNSURE, "a node ahead", future))
    given = give(connection, identifier, GOOD)
    assert given.judgement.at > future
    assert store.find(connection, identifier).verdict is Verdict.GOOD


def test_verdicts_from_elsewhere_may_come_in_any_order_and_twice(engine, part):
    for order in itertools.permutations(range(3)):
        record = part()
        given = [
            VerdictRecord(
                new_id(), record.inspection_id, verdict, "Ada", BEGIN + timedelta(hours=n)
            )
            for n, verdict in enumerate((Verdict.GOOD, Verdict.WITHDRAWN, Verdict.DEFECTIVE))
        ]
        with engine.begin() as connection:
            store.insert(connection, [record])
            for n in (*order, *order):
                add(connection, given[n])
            assert store.find(connection, record.inspection_id).verdict is Verdict.DEFECTIVE
            assert verdicts_of(connection, record.inspection_id) == given[::-1]
    with engine.begin() as connection:
        assert counted(connection) == {"defective": 6}


def test_a_payload_has_json_values_alone(connection, record):
    given = give(connection, record.inspection_id, BAD)
    payload = judging.payload_of(given.judgement)
    assert payload == {
        "event_id": str(given.judgement.event_id),
        "inspection_id": str(record.inspection_id),
        "verdict": "defective",
        "author": "Bob",
        "at": given.judgement.at.isoformat(),
        "defect_class": "crack",
        "comment": None,
    }


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_two_nodes_that_judge_at_once_leave_one_count(engine, part):
    record = part(told=Decision.NG)
    with engine.begin() as connection:
        store.insert(connection, [record])
    start = threading.Barrier(4)

    def judge(author):
        for number in range(10):
            new = NewVerdict(list(Verdict)[number % 3], f"{author}-{number}")
            with engine.begin() as own:
                if not number:
                    start.wait()
                give(own, record.inspection_id, new)

    threads = [threading.Thread(target=judge, args=[f"node-{n}"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.begin() as connection:
        given = verdicts_of(connection, record.inspection_id)
        assert len(given) == 40
        assert len({verdict.at for verdict in given}) == 40
        stands = judging.standing(given)
        assert counted(connection) == {stands.verdict.value if stands else "": 1}


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_change_of_a_part_waits_for_its_verdict(engine, part):
    record = part(told=Decision.NG)
    with engine.begin() as connection:
        store.insert(connection, [record])

    def change():
        with engine.begin() as own:
            (before,) = store.find_to_change(own, [record.inspection_id])
            store.replace_record(own, before, replace(before, score=0.75))

    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    thread = threading.Thread(target=change)
    with engine.begin() as connection:
        give(connection, record.inspection_id, GOOD)
        thread.start()
        with engine.connect() as watching:
            while not watching.execute(text(waiting)).scalar():
                watching.rollback()
                assert thread.is_alive(), "it did not wait"
    thread.join()
    with engine.begin() as connection:
        after = store.find(connection, record.inspection_id)
        assert (after.verdict, after.score) == (Verdict.GOOD, 0.75)
        assert counted(connection) == {"good": 1}

"""What is recorded is durable, numbered, counted once, and never overwritten."""

import asyncio
import logging
import math
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy import update as update_rows
from sqlalchemy.exc import OperationalError

from model.inspection import Decision
from service.archive.identifiers import new_id
from service.archive.journal import AlreadyRecorded
from service.archive.records import DecisionSource, MediaState, Verdict, ViewRecord
from service.archive.tables import inspections, views
from service.errors import JournalUnavailable
from service.inspection.submission import Origin
from tests.service.archive.journals import (
    LATER_S,
    NODE,
    NOW,
    Blocked,
    counts_of,
    events_of,
    found,
    metrics,
    opened,
    part,
    record,
    refusal,
    rows_of,
    update,
)

FULL = part(
    captured_at=NOW - timedelta(seconds=1), origin=Origin.LATE, part_id="4711", job_id="lot 7",
    meta={"lamp": 3, "shift": "früh"}, told=Decision.NG, source=DecisionSource.CLIENT,
    told_reason="scratch", fail_safe="NG", found=Decision.REVIEW, score=0.7512345678901234,
    raw_score=1.5e-7, threshold=2.0, review_threshold=1.0, model_name="solar", model_version="3",
    model_sha256="ab" * 32, calibration_version="2", problem="queue-full", problem_detail="full",
    views=(
        ViewRecord(
            filename="top.png", width=300, height=200, image_bytes=9, image_sha256="cd" * 32,
            image_state=MediaState.KEPT, map_sha256="ef" * 32, map_state=MediaState.KEPT,
            found=Decision.REVIEW, score=0.75, raw_score=1.5, threshold=2.0,
            regions=[{"box": [1, 2, 3, 4], "score": 0.9}], timings_ms={"decode": 1.25},
            engine="torch, float32",
        ),
        ViewRecord(filename="side.png", problem="undecodable-image", problem_detail="truncated"),
    ),
)  # fmt: skip


@pytest.fixture
def journal(tmp_path):
    with opened(tmp_path / "archive") as journal:
        yield journal


def test_every_field_is_there_again_after_a_restart(tmp_path):
    with opened(tmp_path) as journal:
        (numbers,) = record(journal, FULL)
        assert (numbers.number, numbers.station_number) == (1, 1)
    with opened(tmp_path) as journal:
        assert found(journal, FULL) == replace(FULL, node=NODE, number=1, station_number=1)
        assert found(journal, part()) is None


def test_events_are_numbered_in_order_and_stations_without_a_gap(journal):
    parts = [part(station=station) for station in ("a", "b", None, "a", "a", None)]
    numbers = [record(journal, part)[0] for part in parts]
    assert [one.number for one in numbers] == [1, 2, 3, 4, 5, 6]
    assert [one.station_number for one in numbers] == [1, 1, 1, 2, 3, 2]
    assert events_of(journal) == [(one.number, "inspection", one.station_number) for one in numbers]
    assert [row.inspection_id for row in rows_of(journal)] == [p.inspection_id for p in parts]


def test_a_test_takes_no_number_of_its_station_since_it_is_never_delivered(journal):
    first, test, second = record(journal, part(), part(origin=Origin.TEST), part())
    assert [one.station_number for one in (first, test, second)] == [1, 0, 2]
    assert counts_of(journal) == {"OK": 2}


def test_numbers_go_on_after_a_restart_though_old_events_are_deleted(tmp_path):
    with opened(tmp_path) as journal:
        record(journal, part(), part())
        journal.write_now(lambda c: c.execute(text("DELETE FROM events")))
    with opened(tmp_path) as journal:
        (numbers,) = record(journal, part())
        assert (numbers.number, numbers.station_number) == (3, 3)


def test_those_who_wait_share_commits(tmp_path):
    counted = metrics()
    parts = [part(station=f"s{number % 3}") for number in range(640)]

    async def crowd(journal):
        blocked = Blocked()
        holding = asyncio.create_task(journal.write(blocked))
        await asyncio.to_thread(blocked.wait)
        deadline = asyncio.get_running_loop().time() + LATER_S
        waiting = [asyncio.create_task(journal.record(part, deadline)) for part in parts]
        await asyncio.sleep(0)  # all are in the queue
        blocked.release()
        await asyncio.gather(holding, *waiting)

    with opened(tmp_path, metrics=counted) as journal:
        asyncio.run(crowd(journal))
        assert {row.inspection_id for row in rows_of(journal)} == {p.inspection_id for p in parts}
        assert counts_of(journal) == {"OK": 640}
    (family,) = counted.journal_group_size.collect()
    samples = {sample.name.rpartition("_")[2]: sample.value for sample in family.samples}
    assert (samples["sum"], samples["count"]) == (641, 1 + 3)


def test_a_retried_id_gets_what_is_recorded_and_changes_nothing(journal):
    first = part(told=Decision.NG, found=Decision.NG)
    record(journal, first)
    again = replace(first, told=Decision.OK, found=Decision.OK, station="other")
    with pytest.raises(AlreadyRecorded) as caught:
        record(journal, again)
    assert caught.value.record == replace(first, node=NODE, number=1, station_number=1)
    assert counts_of(journal) == {"NG": 1}
    assert len(events_of(journal)) == 1
    (next_numbers,) = record(journal, part(station="other"))
    assert next_numbers.station_number == 1


def test_of_two_with_one_id_at_once_one_is_recorded(journal):
    one = part()

    async def both():
        deadline = asyncio.get_running_loop().time() + LATER_S
        calls = (journal.record(one, deadline), journal.record(one, deadline))
        return await asyncio.gather(*calls, return_exceptions=True)

    recorded, repeated = asyncio.run(both())
    assert recorded.number == 1
    assert repeated.record == replace(one, node=NODE, number=1, station_number=1)
    assert counts_of(journal) == {"OK": 1}


def test_a_refusal_becomes_the_decision_of_its_retry(journal):
    record(journal, part(), refused := refusal())
    before = found(journal, refused)
    after = part(inspection_id=refused.inspection_id, told=Decision.NG, found=Decision.NG)
    numbers = update(journal, before, after)
    assert (numbers.number, numbers.station_number) == (2, 2)
    assert found(journal, refused) == replace(after, node=NODE, number=2, station_number=2)
    assert counts_of(journal) == {"OK": 1, "NG": 1}
    assert events_of(journal) == [(1, "inspection", 1), (2, "inspection", 2), (3, "update", 2)]


def test_an_update_keeps_the_verdict_and_the_hold(journal):
    record(journal, refused := refusal())
    marks = {"verdict": "defective", "is_held": True}
    journal.write_now(lambda c: c.execute(update_rows(inspections).values(marks)))
    update(journal, found(journal, refused), part(inspection_id=refused.inspection_id))
    now = found(journal, refused)
    assert (now.told, now.verdict, now.is_held) == (Decision.OK, Verdict.DEFECTIVE, True)


def test_an_update_of_what_has_changed_is_refused_with_what_it_is_now(journal):
    record(journal, refused := refusal())
    before = found(journal, refused)
    update(journal, before, part(inspection_id=refused.inspection_id, told=Decision.NG))
    with pytest.raises(AlreadyRecorded) as caught:
        update(journal, before, part(inspection_id=refused.inspection_id))
    assert caught.value.record == found(journal, refused)
    assert caught.value.record.told == Decision.NG
    with pytest.raises(KeyError):
        update(journal, other := part(), other)


def test_an_update_that_moves_to_another_station_takes_a_number_there(journal):
    record(journal, refused := refusal(station=None), part(station="press"))
    after = part(inspection_id=refused.inspection_id, station="press")
    assert update(journal, found(journal, refused), after).station_number == 2


def test_a_write_that_has_not_begun_by_its_deadline_is_withdrawn(journal):
    blocked, late = Blocked(), part()

    async def too_late():
        loop = asyncio.get_running_loop()
        holding = asyncio.create_task(journal.write(blocked))
        await asyncio.to_thread(blocked.wait)
        with pytest.raises(TimeoutError):
            await journal.record(late, loop.time() + 0.05)
        with pytest.raises(TimeoutError):
            await journal.record(late, loop.time() - 1)
        blocked.release()
        await holding

    asyncio.run(too_late())
    record(journal, part())
    assert found(journal, late) is None


async def begin(journal, write):
    """Have the thread begin a group of a blocked change and of `write`; return both."""
    first, second = Blocked(), Blocked()
    before = asyncio.create_task(journal.write(first))
    await asyncio.to_thread(first.wait)
    after = asyncio.create_task(journal.write(second))
    writing = asyncio.create_task(write)
    await asyncio.sleep(0)  # both are in the queue
    first.release()
    await asyncio.to_thread(second.wait)
    await before
    return second, after, writing


def test_a_write_that_has_begun_is_waited_for_beyond_its_deadline(journal):
    slow = part()

    async def in_time():
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 1.0
        blocked, change, writing = await begin(journal, journal.record(slow, deadline))
        assert loop.time() < deadline
        await asyncio.sleep(deadline - loop.time() + 0.01)
        assert not writing.done()
        blocked.release()
        await change
        return await writing

    assert asyncio.run(in_time()).number == 1
    assert found(journal, slow) is not None


def test_a_cancelled_write_is_withdrawn_unless_it_has_begun(journal):
    withdrawn, begun = part(), part()

    async def cancel():
        deadline = asyncio.get_running_loop().time() + LATER_S
        blocked, change, writing = await begin(journal, journal.record(begun, deadline))
        waiting = asyncio.create_task(journal.record(withdrawn, deadline))
        await asyncio.sleep(0)
        for task in (waiting, writing):
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not writing.done()
        blocked.release()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert found(journal, begun) is not None  # cancelled after the commit
        await change

    asyncio.run(cancel())
    record(journal, part())
    assert found(journal, withdrawn) is None


def test_a_change_that_raises_fails_alone(journal):
    def broken(connection):
        connection.execute(text("DELETE FROM inspections"))
        raise ValueError("mine")

    async def group():
        deadline = asyncio.get_running_loop().time() + LATER_S
        return await asyncio.gather(
            journal.record(part(), deadline),
            journal.write(broken),
            journal.record(part(), deadline),
            journal.write(lambda c: c.execute(select(views)).all() and 7),
            return_exceptions=True,
        )

    first, error, second, answer = asyncio.run(group())
    assert (first.number, second.number, answer) == (1, 2, 7)
    assert str(error) == "mine"
    assert counts_of(journal) == {"OK": 2}
    assert len(rows_of(journal)) == 2


def test_an_inspection_that_cannot_be_written_fails_alone(journal, caplog):
    good, bad = [part() for _ in range(3)], part(meta={"a": math.nan})

    async def group():
        blocked = Blocked()
        holding = asyncio.create_task(journal.write(blocked))
        await asyncio.to_thread(blocked.wait)
        deadline = asyncio.get_running_loop().time() + LATER_S
        calls = [journal.record(one, deadline) for one in (good[0], bad, *good[1:])]
        waiting = asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0)
        blocked.release()
        await holding
        return await waiting

    outcomes = asyncio.run(group())
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Recorded", "JournalUnavailable", "Recorded", "Recorded",
    ]  # fmt: skip
    assert journal.failure is None
    assert len(rows_of(journal)) == 3
    assert [one.station_number for one in outcomes if hasattr(one, "number")] == [1, 2, 3]
    assert "an inspection cannot be recorded" in caplog.text


def test_a_patient_change_waits_until_no_inspection_does(journal):
    order = []

    def note(name):
        return lambda _: order.append(name)

    async def all_of_them():
        blocked = Blocked()
        holding = asyncio.create_task(journal.write(blocked))
        await asyncio.to_thread(blocked.wait)
        patient = asyncio.create_task(
            asyncio.to_thread(journal.write_now, note("patient"), patient=True)
        )
        while not len(journal._waiting):
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(journal.write(note(n))) for n in range(300)]
        await asyncio.sleep(0)
        blocked.release()
        await asyncio.gather(holding, patient, *others)

    asyncio.run(all_of_them())
    assert order == [*range(300), "patient"]


def test_a_reader_sees_one_moment_and_cannot_write(journal):
    record(journal, part())
    with journal.reading() as connection:
        record(journal, part())
        assert len(connection.execute(select(inspections)).all()) == 1
        with pytest.raises((OperationalError, JournalUnavailable)):
            connection.execute(text("DELETE FROM inspections"))
    assert len(rows_of(journal)) == 2


def test_commits_are_announced_with_the_newest_event(journal):
    seen = []
    journal.on_commit(lambda _: 1 / 0)
    journal.on_commit(seen.append)
    record(journal, part())
    journal.write_now(lambda c: None)
    record(journal, part())
    journal.write_now(lambda c: None)  # the thread has made its calls
    assert seen == [1, 2]


def test_refusals_are_recorded_without_waiting(tmp_path):
    refused = [refusal(station=f"s{number}") for number in range(5)]
    with opened(tmp_path) as journal:
        for one in refused:
            journal.record_soon(one)
    with opened(tmp_path) as journal:
        assert {row.inspection_id for row in rows_of(journal)} == {
            one.inspection_id for one in refused
        }
        assert counts_of(journal) == {"UNDECIDED": 5}


def test_a_flood_of_refusals_is_counted_in_one_row(tmp_path):
    flood = [refusal() for _ in range(500)]
    with opened(tmp_path) as journal:
        for one in flood:
            journal.record_soon(one)
        journal.record_soon(other := refusal(problem="deadline-exceeded"))
    with opened(tmp_path) as journal:
        rows = rows_of(journal)
        assert counts_of(journal) == {"UNDECIDED": 501}
        assert found(journal, other).repeats == 1
    of_flood = [row for row in rows if row.problem == "queue-full"]
    assert sum(row.repeats for row in of_flood) == 500
    assert len(of_flood) < 100  # 21 for each second that the loop above took
    assert [row.inspection_id for row in of_flood[:20]] == [p.inspection_id for p in flood[:20]]


def test_a_refusal_of_a_recorded_part_is_left_out(tmp_path):
    with opened(tmp_path) as journal:
        record(journal, decided := part())
        journal.record_soon(refusal(inspection_id=decided.inspection_id))
    with opened(tmp_path) as journal:
        assert found(journal, decided).told == Decision.OK
        assert counts_of(journal) == {"OK": 1}


def test_more_than_may_wait_are_refused(tmp_path):
    counted = metrics()
    with opened(tmp_path, max_pending=3, metrics=counted) as journal:

        async def crowd():
            blocked = Blocked()
            holding = asyncio.create_task(journal.write(blocked))
            await asyncio.to_thread(blocked.wait)
            deadline = asyncio.get_running_loop().time() + LATER_S
            calls = [journal.record(part(), deadline) for _ in range(5)]
            waiting = asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(0)
            assert counted.journal_pending.collect()[0].samples[0].value == 3
            for _ in range(2_000):
                journal.record_soon(refusal(caller=f"caller-{_}"))
            blocked.release()
            await holding
            return await waiting

        outcomes = asyncio.run(crowd())
    refused = [outcome for outcome in outcomes if isinstance(outcome, JournalUnavailable)]
    assert len(refused) == 2
    assert "3 writes are waiting" in str(refused[0])
    assert counted.refusals_dropped.collect()[0].samples[0].value == 1_000


def test_a_closed_journal_has_written_what_waited_and_takes_no_more(tmp_path):
    journal = None

    async def close_amid():
        nonlocal journal
        with opened(tmp_path) as journal:
            blocked = Blocked()
            holding = asyncio.create_task(journal.write(blocked))
            await asyncio.to_thread(blocked.wait)
            deadline = asyncio.get_running_loop().time() + LATER_S
            waiting = asyncio.create_task(journal.record(part(), deadline))
            await asyncio.sleep(0)
            blocked.release()
        await holding
        return await waiting

    assert asyncio.run(close_amid()).number == 1
    with pytest.raises(JournalUnavailable, match="stopping"):
        record(journal, part())
    journal.record_soon(refusal())
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize(
    "name",
    ['it\'s "quoted"', "'; drop table inspections; --", "😀 schräg", "%s :name ?", "a\\b\n\t"],
)
def test_a_name_is_recorded_as_it_came(journal, name):
    one = part(station=name, part_id=name, job_id=name, category=name, meta={name: name})
    record(journal, one)
    assert found(journal, one) == replace(one, node=NODE, number=1, station_number=1)


@pytest.mark.parametrize("name", ["nul\0", "lone \ud800", "\udc00\ud800"])
def test_what_no_database_takes_is_replaced(journal, name):
    one = part(station=name, part_id=name, told_reason=name, meta={"a": name})
    record(journal, one)
    row = found(journal, one)
    stored = name.replace("\0", "\ufffd").replace("\ud800", "\ufffd").replace("\udc00", "\ufffd")
    assert (row.station, row.part_id, row.told_reason) == (stored, stored, stored)
    assert row.meta == {"a": name}  # JSON, which has its own notation for these
    with journal.reading() as connection:
        query = select(inspections.c.number).where(inspections.c.part_id == name)
        assert connection.execute(query).scalars().all() == [1]
    (again,) = record(journal, part(station=name))
    assert again.station_number == 2


def test_a_clock_that_is_set_back_changes_no_order(journal):
    parts = [part(received_at=NOW - timedelta(days=number)) for number in range(3)]
    for one in parts:
        record(journal, one)
    assert [row.received_at for row in rows_of(journal)] == [p.received_at for p in parts]
    assert [number for number, _, _ in events_of(journal)] == [1, 2, 3]
    assert parts[0].inspection_id < parts[1].inspection_id < parts[2].inspection_id


def test_ids_rise_though_the_clock_is_set_back_across_a_day(monkeypatch):
    first = new_id()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert new_id() > first


def test_it_says_which_sqlite_it_has_and_that_its_fault_does_no_harm(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("sqlite3.sqlite_version", "3.40.1")
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 40, 1))
    with opened(tmp_path):
        assert "SQLite 3.40.1" in caplog.text
        assert "does not affect this service" in caplog.text


def test_a_commit_is_on_disk_when_it_returns(journal):
    """The pragmas that say so are those of the connection that writes."""

    def pragmas(connection):
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert journal.write_now(pragmas) == ["wal", 2, 1]

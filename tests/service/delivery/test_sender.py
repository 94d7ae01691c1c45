"""A sender between a real journal and a sink of the test, which takes what the test says."""

import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import delete, select

from model.inspection import Decision
from service.archive import events
from service.archive.positions import positions, undelivered_from
from service.archive.records import EventKind
from service.archive.tables import dead_letters, inspections
from service.delivery.breaker import BreakerState
from service.delivery.ledger import Ledger
from service.delivery.message import MessageMaker
from service.delivery.outbox import Outbox, Period
from service.delivery.reruns import Replay, Retry
from service.delivery.sender import Sender
from service.delivery.sinks.sink import TAKEN, Held, Reason, Refused
from service.errors import Conflict, JournalUnavailable
from service.inspection.submission import Origin
from service.settings.sinks import FolderSettings
from tests.service.delivery.journals import NODE, inspection, parts, record


class TestSink:
    """Takes everything, but for what `answers` says of a part id."""

    __test__ = False

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.batches: list[list[str]] = []
        self.taken: list[int] = []
        self.idle = None
        self.is_closed = False
        self.aborted = threading.Event()

    def deliver(self, parcels):
        self.batches.append([parcel.inspection.part_id for parcel in parcels])
        outcomes = []
        for parcel in parcels:
            answer = self.answers.get(parcel.inspection.part_id, TAKEN)
            if isinstance(answer, Exception):
                raise answer
            outcomes.append(answer)
            if isinstance(answer, Held):
                break
            if answer is TAKEN:
                self.taken.append(parcel.event.number)
        return outcomes

    def tend(self):
        return self.idle

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.aborted.set()


@pytest.fixture
def sink():
    return TestSink()


@pytest.fixture
def start(journal, metrics, sink):
    """Start senders, and stop them at the end of the test."""
    started = []

    def begin(name: str = "mes", to=None, **changes) -> Sender:
        settings = FolderSettings(
            type="folder", path="unused", **{"backoff_s": 0.02, "max_backoff_s": 0.1, **changes}
        )
        ledger = Ledger(journal, name, settings.max_dead_letters, metrics)
        outbox = Outbox(journal, MessageMaker("Plant 2", NODE), settings)
        sender = Sender(name, settings, to or sink, outbox, ledger, metrics)
        with journal.reading() as connection:
            sender.notice(events.last_number(connection))
        journal.on_commit(sender.notice)
        sender.start()
        started.append(sender)
        return sender

    yield begin
    for sender in started:
        sender.stop()


@pytest.fixture
def position_of(journal):
    def read(name: str = "mes") -> int:
        with journal.reading() as connection:
            return positions(connection)[name]

    return read


@pytest.fixture
def dead(journal):
    """Return the dead letters of a sink, from the journal."""

    def read(name: str = "mes") -> dict[int, str]:
        query = select(dead_letters).where(dead_letters.c.sink == name)
        with journal.reading() as connection:
            return {row.number: row.reason for row in connection.execute(query)}

    return read


HELD = Held(Reason.BUSY, "try later")


def test_events_go_out_in_the_order_of_the_journal(journal, start, sink, eventually, position_of):
    sender = start()
    for _ in range(5):
        record(journal, parts(20))
    eventually(lambda: len(sink.taken) == 100)
    assert sink.taken == [*range(1, 101)]
    sender.stop()
    assert position_of() == 100
    assert sink.is_closed


def test_a_held_event_is_sent_again_before_any_after_it(journal, start, sink, eventually):
    sink.answers["3"] = HELD
    sender = start()
    record(journal, parts(8))
    eventually(lambda: sender.status().breaker is BreakerState.OPEN)
    assert (sink.taken, sender.status().position, sender.status().depth) == ([1, 2, 3], 3, 5)
    assert sender.status().last_error == "try later"
    assert sender.status().oldest_age_s > 0
    sink.answers.clear()
    eventually(lambda: sender.status().depth == 0)
    assert sink.taken == [*range(1, 9)]
    assert (sender.status().breaker, sender.status().oldest_age_s) == (BreakerState.CLOSED, 0)


def test_one_event_is_tried_after_the_breaker_was_open(journal, start, sink, eventually):
    sink.answers["0"] = HELD
    sender = start()
    record(journal, parts(10))
    eventually(lambda: sender.status().breaker is BreakerState.OPEN)
    begun = len(sink.batches)
    eventually(lambda: len(sink.batches) > begun + 2)
    assert [len(batch) for batch in sink.batches[begun + 1 :]].count(1) == len(
        sink.batches[begun + 1 :]
    )


def test_a_backlog_goes_in_small_pieces(journal, start, sink, eventually):
    record(journal, parts(50))
    start(start="oldest", max_per_s=100)
    eventually(lambda: len(sink.taken) == 50)
    assert max(map(len, sink.batches)) == 10


def test_a_refused_event_is_a_dead_letter_and_the_next_go_on(
    journal, start, sink, eventually, dead, metrics
):
    sink.answers |= {"2": Refused("HTTP 422: no"), "4": Refused("HTTP 413: too large")}
    sender = start()
    record(journal, parts(6))
    eventually(lambda: sender.status().depth == 0)
    assert sink.taken == [1, 2, 4, 6]
    assert dead() == {3: "HTTP 422: no", 5: "HTTP 413: too large"}
    eventually(lambda: metrics.delivered.labels("mes")._value.get() == 4)
    eventually(lambda: metrics.dead_letters.labels("mes")._value.get() == 2)
    assert metrics.delivery_failures.labels("mes", "refused")._value.get() == 2


def test_dead_letters_are_tried_again_and_forgotten_once_taken(
    journal, start, sink, eventually, dead
):
    sink.answers |= {"2": Refused("no"), "4": Refused("no")}
    sender = start()
    record(journal, parts(6))
    eventually(lambda: sender.status().depth == 0)
    sink.answers = {"4": Refused("still no")}
    sender.retry(Retry("mes"))
    eventually(lambda: dead() == {5: "still no"})
    eventually(lambda: not sender.status().reruns)
    assert sink.taken == [1, 2, 4, 6, 3]


def test_more_dead_letters_than_allowed_cost_the_oldest_and_no_inspection(
    journal, start, sink, eventually, dead, metrics
):
    sink.answers = {str(number): Refused("no") for number in range(10)}
    start(max_dead_letters=3)
    record(journal, parts(10))
    eventually(lambda: dead().keys() == {8, 9, 10})
    eventually(lambda: metrics.dead_letters_dropped.labels("mes")._value.get() == 7)
    with journal.reading() as connection:
        assert len(connection.execute(select(inspections.c.inspection_id)).all()) == 10


def test_an_error_of_a_sink_holds_it_and_is_logged_once(journal, start, sink, eventually, caplog):
    sink.answers["1"] = RuntimeError("a bug")
    sender = start()
    record(journal, parts(3))
    eventually(lambda: sender.status().breaker is BreakerState.OPEN)
    assert sender.status().last_error == "RuntimeError: a bug"
    assert sum("is held (broken)" in line.getMessage() for line in caplog.records) == 1
    sink.answers.clear()
    eventually(lambda: sender.status().depth == 0)


def test_tests_are_never_delivered_nor_is_what_the_settings_leave_out(
    journal, start, sink, eventually
):
    everything, only_ng, updates = TestSink(), TestSink(), TestSink()
    senders = [
        start("all", everything),
        start("ng", only_ng, decisions=("NG",)),
        start("updates", updates, events=("update",)),
    ]
    good = inspection(part_id="good", told=Decision.OK)
    bad = inspection(part_id="bad", told=Decision.NG)
    record(journal, [inspection(part_id="test", origin=Origin.TEST), good, bad])
    journal.write_now(partial(events.append, kind=EventKind.UPDATE, inspection=good))
    record(journal, [inspection(part_id="test", origin=Origin.TEST)])
    eventually(lambda: all(sender.status().depth == 0 for sender in senders))
    assert [everything.taken, only_ng.taken, updates.taken] == [[2, 3, 4], [3], [4]]


def test_a_new_sink_starts_at_the_newest_or_at_the_oldest_event(
    journal, start, eventually, position_of
):
    record(journal, parts(10))
    newest, oldest = TestSink(), TestSink()
    start("newest", newest)
    start("oldest", oldest, start="oldest")
    record(journal, parts(5))
    eventually(lambda: len(newest.taken) == 5 and len(oldest.taken) == 15)
    assert (newest.taken[0], oldest.taken[0]) == (11, 1)


def test_a_restart_goes_on_where_the_last_run_was_acknowledged(
    journal, start, sink, eventually, position_of
):
    sink.answers["4"] = HELD
    sender = start()
    record(journal, parts(8))
    eventually(lambda: sender.status().breaker is BreakerState.OPEN)
    sender.stop()
    assert position_of() == 4
    record(journal, parts(2))
    again = TestSink()
    sender = start(to=again)
    eventually(lambda: sender.status().depth == 0)
    assert again.taken == [*range(5, 11)]


def test_an_inspection_that_was_purged_is_left_out(journal, start, sink, eventually, caplog):
    purged, *others = parts(3)
    record(journal, [purged, *others])
    condition = inspections.c.inspection_id == purged.inspection_id
    journal.write_now(lambda c: c.execute(delete(inspections).where(condition)))
    sender = start(start="oldest")
    eventually(lambda: sender.status().position == 3)
    assert sink.taken == [2, 3]
    assert "event 1 is not delivered" in caplog.text


def test_a_replay_sends_a_period_again_beside_new_events(journal, start, sink, eventually):
    sender = start()
    record(journal, parts(10))
    eventually(lambda: sender.status().depth == 0)
    since = datetime.now(UTC)
    record(journal, parts(10))
    eventually(lambda: sender.status().depth == 0)
    until = datetime.now(UTC)
    record(journal, parts(10))
    eventually(lambda: sender.status().depth == 0)
    sink.taken.clear()
    sender.retry(Replay(Period(since, until, through=30)))
    record(journal, parts(3))
    eventually(lambda: not sender.status().reruns and sender.status().depth == 0)
    assert sorted(sink.taken) == [*range(11, 21), 31, 32, 33]
    assert [number for number in sink.taken if number <= 30] == [*range(11, 21)]


def test_too_many_replays_are_refused(journal, start, sink, eventually):
    sink.answers["0"] = HELD
    sender = start()
    record(journal, parts(1))
    eventually(lambda: sender.status().last_error)
    period = Period(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC), through=1)
    for _ in range(10):
        sender.retry(Replay(period))
    with pytest.raises(Conflict, match="already has 10 replays"):
        sender.retry(Replay(period))


def test_an_idle_sink_that_cannot_reach_its_receiver_says_so(journal, start, sink, eventually):
    sink.idle = Held(Reason.UNREACHABLE, "nobody listens")
    sender = start()
    eventually(lambda: sender.status().breaker is BreakerState.OPEN)
    sink.idle = TAKEN
    eventually(lambda: sender.status().breaker is BreakerState.CLOSED)


def test_a_dead_letter_that_cannot_be_written_down_is_not_passed_over(
    journal, start, sink, eventually, monkeypatch, dead
):
    sender = start()
    sink.answers["1"] = Refused("no")
    write = journal.write_now

    def refuse(change, *, patient=False):
        if threading.current_thread().name.startswith("sink-"):
            raise JournalUnavailable("the disk is full")
        return write(change, patient=patient)

    monkeypatch.setattr(journal, "write_now", refuse)
    record(journal, parts(4))
    eventually(lambda: "the disk is full" in (sender.status().last_error or ""))
    assert sender.status().position < 2
    monkeypatch.setattr(journal, "write_now", write)
    eventually(lambda: sender.status().depth == 0)
    assert dead() == {2: "no"}


def test_a_journal_that_cannot_be_written_delays_no_delivery(
    journal, start, sink, eventually, monkeypatch, caplog, position_of
):
    sender = start()
    write = journal.write_now

    def refuse(change, *, patient=False):
        if threading.current_thread().name.startswith("sink-"):
            raise JournalUnavailable("the disk is full")
        return write(change, patient=patient)

    monkeypatch.setattr(journal, "write_now", refuse)
    record(journal, parts(20))
    eventually(lambda: sender.status().depth == 0)
    assert sink.taken == [*range(1, 21)]
    assert "position is not saved" in caplog.text
    assert position_of() == 0
    monkeypatch.setattr(journal, "write_now", write)
    sender.stop()
    assert position_of() == 20


def test_a_sink_that_waits_for_its_receiver_is_aborted_at_the_stop(journal, start, metrics):
    class Waiting(TestSink):
        def deliver(self, parcels):
            self.batches.append(parcels)
            assert self.aborted.wait(60)
            return [HELD]

    waiting = Waiting()
    sender = start(to=waiting)
    record(journal, parts(1))
    while not waiting.batches:
        pass
    sender.stop()
    assert waiting.is_closed


def test_the_retention_waits_for_every_sink_in_the_settings(journal, start, sink, eventually):
    held = TestSink()
    held.answers["3"] = HELD
    sender, other = start("a"), start("b", held)
    record(journal, parts(8))
    eventually(lambda: sender.status().depth == 0 and other.status().position == 3)
    sender.stop()
    other.stop()
    with journal.reading() as connection:
        assert undelivered_from(connection, ["a", "b"]) == 4
        assert undelivered_from(connection, ["a"]) == 9
        assert undelivered_from(connection, []) == 9
        assert undelivered_from(connection, ["a", "never ran"]) == 1

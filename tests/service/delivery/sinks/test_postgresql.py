"""The central archive, on a real PostgreSQL: idempotent rows, bad data, and a server in trouble."""

import os
import subprocess
from dataclasses import replace
from datetime import timedelta

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, select, text

from model.inspection import Decision
from service.archive import events, store
from service.archive.migrate import upgrade
from service.archive.records import DecisionSource, EventKind, Verdict
from service.archive.searching import judging
from service.archive.searching.judging import NewHold, NewVerdict
from service.archive.sqlite.recording import update
from service.archive.tables import holds, inspections, rollups, verdicts
from service.delivery.breaker import BreakerState
from service.inspection.submission import Origin
from tests.service.archive.postgresql import running
from tests.service.delivery.journals import inspection, parts, record

_WAL_SEGMENT_BYTES = 16 * 2**20


class Central:
    """The central database, read by a test."""

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url)

    def migrate(self) -> None:
        with self.engine.begin() as connection:
            upgrade(connection)

    def ids(self) -> set:
        with self.engine.connect() as connection:
            return set(connection.execute(select(inspections.c.inspection_id)).scalars())

    def find(self, inspection_id):
        with self.engine.connect() as connection:
            return store.find(connection, inspection_id)

    def count(self, table) -> int:
        with self.engine.connect() as connection:
            return len(connection.execute(select(table)).all())

    def parts(self, **conditions) -> int:
        """Return the parts of the roll-ups with these values."""
        query = select(rollups.c.parts).filter_by(**conditions)
        with self.engine.connect() as connection:
            return sum(connection.execute(query).scalars())


@pytest.fixture
def central(postgresql_url):
    database = Central(postgresql_url)
    database.migrate()
    yield database
    database.engine.dispose()


@pytest.fixture
def settings(postgresql_url):
    """Settings of a sink that writes to the test's database."""

    def make(**changes: object):
        settings = {"type": "postgresql", "url": postgresql_url, "timeout_s": 5}
        return {**settings, "backoff_s": 0.05, "max_backoff_s": 0.3, **changes}

    return make


@pytest.fixture
def until_held(eventually):
    """Wait until the one sink is held for a reason with these words; return its status."""

    def wait(deliveries, words: str):
        def is_held():
            (status,) = deliveries.status()
            return words in (status.last_error or "") and status

        return eventually(is_held, f"a failure that says {words!r}")

    return wait


@pytest.fixture
def judge(journal):
    """Give a verdict or hold in the journal, as the archive does."""

    def give(inspection_id, new):
        def change(connection):
            given = judging.give(connection, inspection_id, new)
            kind = EventKind.HOLD if isinstance(new, NewHold) else EventKind.VERDICT
            payload = judging.payload_of(given.judgement)
            event_id = given.judgement.event_id
            events.append(connection, kind, given.inspection, event_id=event_id, payload=payload)

        journal.write_now(change)

    return give


def test_the_central_row_equals_the_journals(journal, deliver, central, settings, eventually):
    deliveries = deliver(archive=settings())
    sent = [
        *parts(30),
        inspection(origin=Origin.LATE),
        inspection(station=None, meta=None, views=()),
    ]
    record(journal, [*sent, inspection(origin=Origin.TEST)])
    eventually(lambda: deliveries.status()[0].depth == 0)
    assert central.ids() == {record.inspection_id for record in sent}
    with journal.reading() as connection:
        kept = store.find_all(connection, [record.inspection_id for record in sent])
    assert [central.find(record.inspection_id) for record in kept] == kept
    assert central.parts() == len(sent)


def test_repeats_change_nothing(journal, deliver, central, settings, eventually, judge):
    deliveries = deliver(archive=settings())
    sent = parts(20)
    record(journal, sent)
    judge(sent[0].inspection_id, NewVerdict(Verdict.GOOD, "Ada"))
    judge(sent[1].inspection_id, NewHold(True, "Ada"))
    eventually(lambda: deliveries.status()[0].depth == 0)
    before = [central.find(record.inspection_id) for record in sent]
    first = sent[0].received_at.replace(year=2020)
    deliveries.replay("archive", first, first.replace(year=2100))
    eventually(lambda: deliveries.status()[0].delivered == 44)
    assert [central.find(record.inspection_id) for record in sent] == before
    assert (central.parts(), central.count(verdicts), central.count(holds)) == (20, 1, 1)
    assert (before[0].verdict, before[1].is_held) == (Verdict.GOOD, True)
    assert central.parts(verdict="good") == 1


def test_verdicts_stand_in_the_order_of_their_times(
    journal, deliver, central, settings, eventually, judge
):
    deliveries = deliver(archive=settings())
    (part,) = parts(1)
    record(journal, [part])
    for verdict in (Verdict.GOOD, Verdict.WITHDRAWN, Verdict.DEFECTIVE):
        judge(part.inspection_id, NewVerdict(verdict, "Ada", "scratch", "'; drop table verdicts"))
    judge(part.inspection_id, NewHold(True, "Ada", "complaint"))
    judge(part.inspection_id, NewHold(False, "Ada"))
    eventually(lambda: deliveries.status()[0].depth == 0)
    found = central.find(part.inspection_id)
    assert (found.verdict, found.is_held) == (Verdict.DEFECTIVE, False)
    assert central.parts(verdict="defective") == central.parts() == 1
    assert (central.count(verdicts), central.count(holds)) == (3, 2)


def test_a_withdrawal_leaves_no_verdict_in_the_central_row(
    journal, deliver, central, settings, eventually, judge
):
    deliveries = deliver(archive=settings())
    (part,) = parts(1)
    record(journal, [part])
    for verdict in (Verdict.GOOD, Verdict.WITHDRAWN):
        judge(part.inspection_id, NewVerdict(verdict, "Ada"))
    eventually(lambda: deliveries.status()[0].depth == 0)
    assert central.find(part.inspection_id).verdict is None
    assert (central.count(verdicts), central.parts(verdict="")) == (2, 1)


def test_an_update_replaces_the_row_and_keeps_a_verdict_that_was_given_centrally(
    journal, deliver, central, settings, eventually
):
    deliveries = deliver(archive=settings())
    refused = inspection(told=Decision.UNDECIDED, found=None, score=None, raw_score=None, views=())
    record(journal, [refused])
    eventually(lambda: deliveries.status()[0].depth == 0)
    with central.engine.begin() as connection:
        judging.give(connection, refused.inspection_id, NewVerdict(Verdict.GOOD, "Ada"))
    with journal.reading() as connection:
        before = store.find(connection, refused.inspection_id)
    decided = replace(before, told=Decision.OK, found=Decision.OK, score=0.1)
    journal.write_now(lambda connection: update(connection, before, decided))
    eventually(lambda: deliveries.status()[0].depth == 0)
    found = central.find(refused.inspection_id)
    assert (found.told, found.verdict) == (Decision.OK, Verdict.GOOD)
    assert central.parts(told="OK", verdict="good") == central.parts() == 1


EARLIER, LATER = timedelta(seconds=-1), timedelta(seconds=1)
NETWORK, REFUSED, CLIENT = (
    {"source": DecisionSource.NETWORK},
    {"source": DecisionSource.FAIL_SAFE, "told": Decision.UNDECIDED},
    {"source": DecisionSource.CLIENT, "told": Decision.UNDECIDED},
)


@pytest.mark.parametrize(
    ("here", "there", "difference", "stands_here"),
    [
        (NETWORK, NETWORK, EARLIER, True),
        (NETWORK, NETWORK, LATER, False),
        (NETWORK, REFUSED, LATER, True),
        (REFUSED, NETWORK, EARLIER, False),
        (REFUSED, REFUSED, EARLIER, True),
        (CLIENT, NETWORK, LATER, True),
        (NETWORK, CLIENT, EARLIER, False),
    ],
)
def test_of_attempts_on_two_nodes_the_one_that_the_line_acted_on_stands(
    journal, deliver, central, settings, eventually, here, there, difference, stands_here
):
    (part,) = parts(1)
    part = replace(part, **here)
    changes = {"node": "line-2", "number": 1, "received_at": part.received_at + difference}
    elsewhere = replace(part, **changes | {"source": NETWORK["source"]} | there)
    with central.engine.begin() as connection:
        store.insert(connection, [elsewhere])
    deliveries = deliver(archive=settings())
    record(journal, [part])
    eventually(lambda: deliveries.status()[0].depth == 0)
    expected = ("line-1", part.told) if stands_here else ("line-2", elsewhere.told)
    row = central.find(part.inspection_id)
    assert (row.node, row.told) == expected
    assert central.parts(node=expected[0]) == central.parts() == 1


def test_a_verdict_on_an_inspection_from_before_the_sink_brings_it_along(
    journal, deliver, central, settings, eventually, judge
):
    (part,) = parts(1)
    record(journal, [part])
    deliveries = deliver(archive=settings())
    judge(part.inspection_id, NewVerdict(Verdict.GOOD, "Ada"))
    eventually(lambda: deliveries.status()[0].depth == 0)
    assert central.find(part.inspection_id).verdict is Verdict.GOOD


def test_an_event_that_breaks_a_rule_of_the_data_is_a_dead_letter_alone(
    journal, deliver, central, settings, eventually
):
    with central.engine.begin() as connection:
        rule = "CHECK (part_id <> '3'), ADD CONSTRAINT number CHECK (1 / (part_id::int - 5) < 2)"
        connection.execute(text(f"ALTER TABLE inspections ADD CONSTRAINT part {rule}"))
    deliveries = deliver(archive=settings())
    sent = parts(8)
    record(journal, sent)
    eventually(lambda: deliveries.status()[0].depth == 0)
    assert central.ids() == {
        record.inspection_id for record in sent if record.part_id not in ("3", "5")
    }
    letters = {letter.number: letter.reason for letter in deliveries.dead("archive", 10)}
    assert letters.keys() == {4, 6}
    assert letters[4].startswith("23514: ")
    assert letters[6].startswith("22012: ")
    assert central.parts() == 6

    with central.engine.begin() as connection:
        connection.execute(text("ALTER TABLE inspections DROP CONSTRAINT part"))
    assert deliveries.retry("archive") == 2
    eventually(lambda: [letter.number for letter in deliveries.dead("archive", 10)] == [6])
    assert central.parts() == 7


def test_a_database_that_is_not_migrated_holds_the_sink_and_says_what_to_run(
    journal, deliver, postgresql_url, settings, until_held, eventually
):
    deliveries = deliver(archive=settings())
    sent = parts(3)
    record(journal, sent)
    assert until_held(deliveries, "run `mambaad archive migrate`").position == 0
    central = Central(postgresql_url)
    central.migrate()
    deliveries.retry("archive")
    eventually(lambda: len(central.ids()) == 3)
    central.engine.dispose()


def test_a_read_only_database_holds_the_sink(
    journal, deliver, central, settings, until_held, eventually, postgresql_url
):
    name = postgresql_url.rpartition("/")[2]
    with central.engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    deliveries = deliver(archive=settings())
    record(journal, parts(3))
    assert until_held(deliveries, "25006").position == 0
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
    central.engine.dispose()
    eventually(lambda: deliveries.status()[0].depth == 0)
    assert central.parts() == 3


def test_a_denied_user_and_a_missing_database_hold_the_sink(
    journal, deliver, central, settings, until_held, postgresql_url
):
    with central.engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS stranger"))
        connection.execute(text("CREATE ROLE stranger LOGIN"))
    stranger = postgresql_url.replace("postgres@", "stranger@")
    deliveries = deliver(archive=settings(url=stranger))
    record(journal, parts(1))
    assert until_held(deliveries, "permission denied").breaker is not BreakerState.CLOSED
    deliveries.stop()
    deliveries = deliver(archive=settings(url=postgresql_url.rpartition("/")[0] + "/missing"))
    assert until_held(deliveries, "does not exist").breaker is not BreakerState.CLOSED


def test_a_lock_that_is_not_released_ends_the_try_in_time(
    journal, deliver, central, settings, until_held, eventually
):
    deliveries = deliver(archive=settings(timeout_s=0.3))
    with central.engine.begin() as connection:
        connection.execute(text("LOCK TABLE inspections IN ACCESS EXCLUSIVE MODE"))
        record(journal, parts(2))
        assert until_held(deliveries, "no commit within 0.3 s").position == 0
    eventually(lambda: deliveries.status()[0].depth == 0)
    assert central.parts() == 2


def test_a_server_that_stops_hangs_or_is_killed_loses_nothing(
    journal, deliver, until_held, eventually
):
    with running() as server:
        central = Central(server.create_database())
        central.migrate()
        url = str(central.engine.url)
        settings = {"type": "postgresql", "url": url, "timeout_s": 0.5, "max_backoff_s": 0.5}
        deliveries = deliver(archive=settings)
        sent = parts(10)
        record(journal, sent)
        eventually(lambda: len(central.ids()) == 10)
        central.engine.dispose()

        for end in (server.stop, server.kill):
            end()
            more = parts(10)
            record(journal, more)
            until_held(deliveries, "connection")
            server.start()
            sent += more
            eventually(lambda: deliveries.status()[0].depth == 0)

        processes = _processes(server)
        for process in processes:
            process.suspend()
        more = parts(10)
        record(journal, more)
        until_held(deliveries, "no commit within 0.5 s")
        for process in processes:
            process.resume()
        sent += more
        eventually(lambda: deliveries.status()[0].depth == 0)

        assert central.ids() == {record.inspection_id for record in sent}
        assert central.parts() == len(sent)
        assert deliveries.dead("archive", 10) == []
        central.engine.dispose()


def test_a_database_on_a_full_disk_holds_the_sink(
    journal, deliver, central, settings, until_held, eventually
):
    """A backend may write no file beyond the table's size: it cannot extend it."""
    with central.engine.begin() as connection:
        connection.execute(text("ALTER TABLE inspections SET (autovacuum_enabled = off)"))
        connection.execute(text("ALTER TABLE inspections ALTER COLUMN meta SET STORAGE PLAIN"))
        connection.execute(
            text(
                "INSERT INTO inspections (inspection_id, node, number, station_number, "
                "received_at, origin, category, told, source, request_id, caller, meta) "
                "SELECT gen_random_uuid(), 'n', i, i, i, 'line', 'bolt', 'OK', 'network', '', '', "
                "repeat('x', 1500) FROM generate_series(1, 12500) AS i"
            )
        )
        size = connection.execute(text("SELECT pg_relation_size('inspections')")).scalar_one()
        assert size > _WAL_SEGMENT_BYTES
    deliveries = deliver(archive=settings())
    sent = parts(100)
    record(journal, sent[:1])
    eventually(lambda: deliveries.status()[0].depth == 0)
    with central.engine.begin() as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'mambaad line-1'"
        backend = connection.execute(text(query)).scalar_one()
    _limit_files(backend, str(_WAL_SEGMENT_BYTES))
    record(journal, sent[1:])
    status = until_held(deliveries, "could not extend file")
    assert status.depth > 0
    _limit_files(backend, "unlimited")
    eventually(lambda: deliveries.status()[0].depth == 0)
    assert {record.inspection_id for record in sent} <= central.ids()
    assert central.parts() == len(sent)
    assert deliveries.dead("archive", 10) == []


def _processes(server) -> list[psutil.Process]:
    """Return the server's processes, the parent first."""
    parent = psutil.Process(server._process.pid)
    return [parent, *parent.children(recursive=True)]


def _limit_files(process_id: int, nbytes: str) -> None:
    """Let a process write no file beyond a size; only its own user may say so."""
    user = (
        []
        if os.geteuid()
        else ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    )
    command = [*user, "prlimit", f"--pid={process_id}", f"--fsize={nbytes}:"]
    subprocess.run(command, check=True)

"""What the setting `url` points at: this node's journal, or the PostgreSQL of all nodes."""

import asyncio
import json
import sqlite3
import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, select, text

from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.migrate import parse_url, upgrade
from service.archive.records import Verdict
from service.archive.searching.archive import Archive
from service.archive.searching.judging import NewHold, NewVerdict, Seen
from service.archive.searching.search import Filter, search
from service.archive.tables import events, verdicts
from service.errors import (
    ArchiveUnavailable,
    JournalUnavailable,
    NoSuchInspection,
    OnOtherNode,
    SearchTooBroad,
    Unavailable,
)
from tests.service.archive.conftest import NODE
from tests.service.archive.postgresql import running

GOOD = NewVerdict(Verdict.GOOD, "Ada (quality)")
SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(30)",
}


@contextmanager
def opened(journal, url=None, **options):
    archive = Archive(journal, NODE, url, **options)
    try:
        yield archive
    finally:
        asyncio.run(archive.close())


@pytest.fixture(params=["journal", "postgresql"])
def archive(request, journal):
    is_central = request.param == "postgresql"
    url = request.getfixturevalue("central_url") if is_central else None
    with opened(journal, url) as archive:
        yield archive


@pytest.fixture
def central(central_url):
    engine = create_engine(central_url)
    yield engine
    engine.dispose()


def put(archive, journal, *records):
    """Insert inspections where the archive searches."""
    if archive._central is None:
        journal.write_now(lambda connection: store.insert(connection, records))
    else:
        archive._central.change(lambda connection: store.insert(connection, records))


def journaled(journal):
    """Return the events of the journal."""
    with journal.reading() as connection:
        return connection.execute(select(events).order_by(events.c.number)).mappings().all()


def test_it_finds_what_is_where_the_url_points(archive, journal, part):
    record = part(part_id="4711", told=Decision.NG)
    put(archive, journal, record, part())
    page = asyncio.run(archive.read(lambda c: search(c, Filter(part_id="4711"), 5)))
    assert page.inspections == [record]
    found = asyncio.run(archive.find(record.inspection_id))
    assert (found.inspection, found.verdicts, found.holds) == (record, [], [])
    with pytest.raises(NoSuchInspection, match="was never recorded, or the retention deleted it"):
        asyncio.run(archive.find(new_id()))


def test_a_reader_cannot_write(archive, journal, part):
    with pytest.raises(Unavailable, match="read-only"):
        asyncio.run(archive.read(lambda connection: store.insert(connection, [part()])))


def test_a_judgement_is_an_event_of_the_journal(archive, journal, part):
    record = part(station="EL-3", station_number=12)
    put(archive, journal, record)
    found = asyncio.run(archive.judge(record.inspection_id, GOOD))
    assert found.inspection.verdict is Verdict.GOOD
    assert asyncio.run(archive.judge(record.inspection_id, GOOD)) == found
    held = asyncio.run(archive.judge(record.inspection_id, NewHold(True, "Ada", "audit")))
    assert held.inspection.is_held
    verdict, hold = journaled(journal)
    assert (verdict["kind"], hold["kind"]) == ("verdict", "hold")
    assert (verdict["inspection_id"], verdict["station"]) == (record.inspection_id, "EL-3")
    assert verdict["event_id"] == found.verdicts[0].event_id
    payload = json.loads(verdict["payload"])
    assert (payload["verdict"], payload["author"]) == ("good", "Ada (quality)")
    assert json.loads(hold["payload"])["reason"] == "audit"


def test_a_withdrawal_is_an_event_too_and_leaves_no_verdict(archive, journal, part):
    record = part(told=Decision.NG)
    put(archive, journal, record)
    given = asyncio.run(archive.judge(record.inspection_id, GOOD, Seen(None))).verdicts[0]
    by_other = NewVerdict(Verdict.DEFECTIVE, "Bob")
    refused = asyncio.run(archive.judge(record.inspection_id, by_other, Seen(None)))
    assert refused.verdicts == [given]
    new = NewVerdict(Verdict.WITHDRAWN, "Ada (quality)")
    found = asyncio.run(archive.judge(record.inspection_id, new, Seen(given.event_id)))
    assert found.inspection.verdict is None
    assert [one.verdict for one in found.verdicts] == [Verdict.WITHDRAWN, Verdict.GOOD]
    payloads = [json.loads(event["payload"]) for event in journaled(journal)]
    assert [payload["verdict"] for payload in payloads] == ["good", "withdrawn"]


def test_an_unknown_inspection_leaves_no_event(archive, journal):
    with pytest.raises(NoSuchInspection):
        asyncio.run(archive.judge(new_id(), GOOD))
    assert journaled(journal) == []


def test_a_part_that_is_not_delivered_yet_is_found_and_judged_in_the_journal(
    journal, central_url, part
):
    record = part()
    journal.write_now(lambda connection: store.insert(connection, [record]))
    with opened(journal, central_url) as archive:
        assert asyncio.run(archive.find(record.inspection_id)).inspection == record
        found = asyncio.run(archive.judge(record.inspection_id, GOOD))
        assert found.inspection.verdict is Verdict.GOOD
    assert len(journaled(journal)) == 1


def test_a_judgement_in_postgresql_is_in_the_journal_too(journal, central_url, part):
    record = part()
    journal.write_now(lambda connection: store.insert(connection, [record]))
    with opened(journal, central_url) as archive:
        put(archive, journal, record)
        for new in (GOOD, NewHold(True, "Ada")):
            asyncio.run(archive.judge(record.inspection_id, new))
        for here_first in (True, False):
            found = asyncio.run(archive.find(record.inspection_id, here_first=here_first))
            assert (found.inspection.verdict, found.inspection.is_held) == (Verdict.GOOD, True)


def test_a_hold_of_another_nodes_part_is_refused_because_it_would_protect_nothing(
    journal, central_url, part
):
    record = part(node="line-2")
    with opened(journal, central_url) as archive:
        put(archive, journal, record)
        with pytest.raises(OnOtherNode, match="'line-2'") as caught:
            asyncio.run(archive.judge(record.inspection_id, NewHold(True, "Ada")))
        assert caught.value.node == "line-2"
        found = asyncio.run(archive.judge(record.inspection_id, GOOD))
        assert (found.inspection.is_held, found.holds) == (False, [])
    assert [event["kind"] for event in journaled(journal)] == ["verdict"]


def test_without_the_journal_postgresql_takes_no_verdict(journal, central_url, central, part):
    record = part()
    journal.close()
    with opened(journal, central_url) as archive:
        put(archive, journal, record)
        with pytest.raises(JournalUnavailable):
            asyncio.run(archive.judge(record.inspection_id, GOOD))
    with central.begin() as connection:
        assert connection.execute(select(verdicts)).all() == []


def test_if_postgresql_cannot_commit_the_journal_has_the_event(journal, central_url, central, part):
    record = part()
    with central.begin() as connection:
        store.insert(connection, [record])
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON verdicts DEFERRABLE INITIALLY "
                "DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )
    with opened(journal, central_url) as archive:
        with pytest.raises(ArchiveUnavailable, match="cannot be used: the disk is full"):
            asyncio.run(archive.judge(record.inspection_id, GOOD))
        assert asyncio.run(archive.find(record.inspection_id)).inspection.verdict is None
    assert [event["kind"] for event in journaled(journal)] == ["verdict"]


def test_a_postgresql_without_tables_names_the_command_that_makes_them(journal, postgresql_url):
    with opened(journal, postgresql_url) as archive:
        with pytest.raises(ArchiveUnavailable, match="run `mambaad archive migrate`"):
            asyncio.run(archive.find(new_id()))
        with pytest.raises(ArchiveUnavailable, match="run `mambaad archive migrate`"):
            asyncio.run(archive.judge(new_id(), GOOD))


def test_an_unreachable_postgresql_is_reported_and_used_again_when_it_is_back(journal, part):
    with running() as server:
        url = server.create_database().replace("postgres@", "postgres:secret@")
        with opened(journal, url) as archive:
            engine = create_engine(url)
            with engine.begin() as connection:
                upgrade(connection)
                store.insert(connection, [part(part_id="4711")])
            engine.dispose()

            def find():
                return asyncio.run(archive.read(lambda c: search(c, Filter(part_id="4711"), 5)))

            assert len(find().inspections) == 1
            server.kill()
            for call in (find, lambda: asyncio.run(archive.judge(new_id(), GOOD))):
                with pytest.raises(ArchiveUnavailable, match="cannot be used") as caught:
                    call()
                assert "secret" not in str(caught.value)
                assert caught.value.retry_after_s == 5
            assert journaled(journal) == []
            server.start()
            assert len(find().inspections) == 1


@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
def test_a_search_that_takes_too_long_is_ended(journal, request, place):
    url = request.getfixturevalue("central_url") if place == "postgresql" else None
    with opened(journal, url, limit_s=0.2) as archive:
        with pytest.raises(SearchTooBroad, match=r"not done within 0\.2 s: name a part"):
            asyncio.run(archive.read(lambda c: c.exec_driver_sql(SLOW[place]).all()))
        assert asyncio.run(archive.read(lambda c: c.exec_driver_sql("SELECT 1").scalar())) == 1


def test_too_many_searches_at_once_are_refused_and_the_others_answered(archive):
    release = threading.Event()

    def query(connection):
        release.wait(30)
        return connection.exec_driver_sql("SELECT 1").scalar()

    async def ask():
        asked = [asyncio.create_task(archive.read(query)) for _ in range(40)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        refused = [task for task in done if isinstance(task.exception(), ArchiveUnavailable)]
        release.set()
        return refused, await asyncio.gather(*asked, return_exceptions=True)

    refused, answers = asyncio.run(ask())
    assert len(refused) == 8
    assert answers.count(1) == 32
    assert "32 searches are already running or wait" in str(refused[0].exception())


def test_a_cancelled_search_frees_its_place(archive):
    async def ask():
        for _ in range(100):
            task = asyncio.create_task(archive.read(lambda c: c.exec_driver_sql("SELECT 1").all()))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        while True:
            try:
                return await archive.read(lambda c: c.exec_driver_sql("SELECT 1").scalar())
            except ArchiveUnavailable:
                await asyncio.sleep(0.01)

    assert asyncio.run(ask()) == 1


@pytest.mark.parametrize("url", ["sqlite:///journal.db", "mysql://host/x", "no url", "://", ""])
def test_a_url_of_anything_else_is_refused(url):
    with pytest.raises(ValueError, match="expected a URL such as postgresql://user@host/database"):
        parse_url(url)


def test_an_interrupted_reader_is_as_good_as_new():
    """What `_interrupted_after` relies on."""
    connection = sqlite3.connect(":memory:")
    connection.set_progress_handler(lambda: True, 1000)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute(SLOW["sqlite"]).fetchall()
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
    connection.set_progress_handler(None, 0)
    assert connection.execute("SELECT 1").fetchall() == [(1,)]
    connection.close()

"""The archive's benchmark fills it with rows that the archive could have written."""

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, delete, select

from benchmarks.archiving.rows import NODE, Made, fill_postgresql, fill_sqlite
from benchmarks.archiving.searching import PROMISED, measure, writing
from service.archive import store
from service.archive.searching.archive import Archive
from service.archive.searching.search import Filter, search
from service.archive.sqlite_journal import JOURNAL_FILE, SqliteJournal
from service.archive.tables import inspections, rollups
from tests.service.archive.postgresql import postgresql_server, postgresql_url  # noqa: F401

MADE = Made(rows=1200, days=40.0, end=datetime(2026, 11, 29, 12, tzinfo=UTC))


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request, tmp_path):
    """An engine on a filled database."""
    if request.param == "sqlite":
        SqliteJournal.open(tmp_path, NODE).close()
        fill_sqlite(tmp_path / JOURNAL_FILE, MADE, lambda _: None)
        url = f"sqlite:///{tmp_path / JOURNAL_FILE}"
    else:
        url = request.getfixturevalue("postgresql_url")
        fill_postgresql(url, MADE, lambda _: None)
    engine = create_engine(url)
    yield engine
    engine.dispose()


def counted(connection):
    return sorted(map(tuple, connection.execute(select(rollups))))


def test_the_rows_are_read_back_and_counted_as_the_archive_counts(filled):
    with filled.begin() as connection:
        records = search(connection, Filter(), 5000).inspections
        assert len(records) == MADE.rows
        assert records[0].received_at <= MADE.end
        assert records[-1].received_at >= MADE.begin
        assert len({record.inspection_id for record in records}) == MADE.rows
        assert all(record.inspection_id.version == 7 for record in records)
        by_benchmark = counted(connection)
        connection.execute(delete(rollups))
        store.count(connection, records)
        assert counted(connection) == by_benchmark
        one = search(connection, Filter(part_id=MADE.part_id(7)), 5).inspections
        assert [record.part_id for record in one] == ["cell-000000007"]


def test_both_databases_get_the_same_rows(tmp_path, postgresql_url):  # noqa: F811
    SqliteJournal.open(tmp_path, NODE).close()
    fill_sqlite(tmp_path / JOURNAL_FILE, MADE, lambda _: None)
    fill_postgresql(postgresql_url, MADE, lambda _: None)
    rows = []
    for url in (f"sqlite:///{tmp_path / JOURNAL_FILE}", postgresql_url):
        engine = create_engine(url)
        with engine.begin() as connection:
            rows.append(search(connection, Filter(), 5000).inspections)
        engine.dispose()
    assert rows[0] == rows[1]


def test_every_kind_of_search_is_timed_while_rows_are_written(tmp_path):
    SqliteJournal.open(tmp_path, NODE).close()
    fill_sqlite(tmp_path / JOURNAL_FILE, MADE, lambda _: None)
    journal = SqliteJournal.open(tmp_path, NODE)
    archive = Archive(journal, NODE)

    def write(record):
        journal.write_now(lambda connection: store.insert(connection, [record]))

    with writing(write, 500.0) as written:
        times = measure(archive, MADE, 21, lambda _: None)
    with journal.reading() as connection:
        found = connection.execute(select(inspections.c.number)).all()
    assert len(found) == MADE.rows + len(written)
    assert PROMISED.keys() <= times.keys()
    assert all(of_kind.repeats == 21 and of_kind.p50_ms > 0 for of_kind in times.values())
    archive._threads.shutdown()
    journal.close()


def test_a_write_that_fails_is_no_measurement():
    tried = threading.Event()

    def write(record):
        tried.set()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"), writing(write, 1000.0):
        assert tried.wait(30)

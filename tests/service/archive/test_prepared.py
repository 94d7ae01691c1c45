"""Rows that SQLite's own driver inserts are those that SQLAlchemy would insert."""

import sqlite3
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import create_engine

from service.archive.prepared import PreparedInsert
from service.archive.tables import events, verdicts

ID = UUID(int=7)
ROW = {
    "event_id": ID, "inspection_id": UUID(int=9), "verdict": "OK", "defect_class": None,
    "comment": "a\0b" + chr(0xD800), "author": "é", "at": datetime(2026, 11, 30, 12, 0, 1, 5, UTC),
}  # fmt: skip


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        verdicts.create(connection)
        events.create(connection)
        yield connection
    engine.dispose()


def rows_of(connection, table):
    return connection.exec_driver_sql(f"SELECT * FROM {table.name}").all()


def test_values_are_converted_as_sqlalchemy_converts_them(connection):
    connection.execute(verdicts.insert(), ROW)
    (expected,) = rows_of(connection, verdicts)
    connection.execute(verdicts.delete())
    PreparedInsert(verdicts.insert(), list(ROW)).run(connection, [ROW])
    assert rows_of(connection, verdicts) == [expected]
    assert expected.event_id == ID.bytes and expected.comment == "a\ufffdb\ufffd"


def test_many_rows_are_inserted_and_rolled_back_with_their_transaction(connection):
    insert = PreparedInsert(verdicts.insert(), list(ROW))
    connection.commit()
    with connection.begin() as transaction:
        insert.run(connection, ({**ROW, "event_id": UUID(int=n)} for n in range(3)))
        assert len(rows_of(connection, verdicts)) == 3
        transaction.rollback()
    assert rows_of(connection, verdicts) == []


def test_a_row_that_breaks_a_constraint_is_an_error_of_sqlite(connection):
    insert = PreparedInsert(verdicts.insert(), list(ROW))
    insert.run(connection, [ROW])
    with pytest.raises(sqlite3.IntegrityError):
        insert.run(connection, [ROW])

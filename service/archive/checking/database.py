"""Asks SQLite whether the journal's file is sound."""

from collections.abc import Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from service.archive.checking.problems import Fault, Problem
from service.archive.retention.sweep import Reading
from service.errors import JournalUnavailable

_MAX_LINES = 100


def check_database(reading: Reading) -> Iterator[Problem]:
    """Yield what SQLite finds wrong with its file, and rows without the row that they belong to."""
    try:
        with reading() as connection:
            yield from _integrity(connection)
            for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                yield Problem(Fault.DATABASE, f"a row of {table}", f"no row of {parent} for it")
    except (DatabaseError, JournalUnavailable) as error:
        yield Problem(Fault.DATABASE, "journal.db", str(getattr(error, "orig", error)))


def _integrity(connection: Connection) -> Iterator[Problem]:
    for (line,) in connection.exec_driver_sql(f"PRAGMA integrity_check({_MAX_LINES})"):
        if line != "ok":
            yield Problem(Fault.DATABASE, "journal.db", line)

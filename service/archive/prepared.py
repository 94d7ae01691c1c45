"""Inserts that SQLite's own driver runs: for one row, SQLAlchemy takes longer than SQLite itself.

    insert_views = PreparedInsert(views.insert(), [column.name for column in views.c])
    insert_views.run(connection, [{"inspection_id": ..., "view": 0, ...}])

SQLAlchemy still makes the statement's text, and the converters of its values, once. A failure is an
error of `sqlite3`.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects.sqlite.pysqlite import dialect

_SQLITE: Any = dialect()


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the connection of Python's own SQLite module."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


class PreparedInsert:
    """An insert of rows that have these columns, at least two; more in a row are left out."""

    def __init__(self, statement: Insert, columns: Sequence[str]) -> None:
        compiled: Any = statement.compile(dialect=_SQLITE, column_keys=list(columns))
        self._text = str(compiled)
        names: list[str] = compiled.positiontup
        self._values_of = itemgetter(*names)
        self._converters: list[tuple[int, Callable[[Any], Any]]] = []
        for place, name in enumerate(names):
            kind = statement.table.c[name].type.dialect_impl(_SQLITE)
            if (convert := kind.bind_processor(_SQLITE)) is not None:
                self._converters.append((place, convert))

    def run(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert the rows, in the transaction of a connection to SQLite."""
        driver_of(connection).executemany(self._text, map(self._bound, rows)).close()

    def _bound(self, row: Mapping[str, Any]) -> list[Any]:
        values = list(self._values_of(row))
        for place, convert in self._converters:
            if (value := values[place]) is not None:
                values[place] = convert(value)
        return values

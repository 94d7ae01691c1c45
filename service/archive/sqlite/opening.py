"""Opens a journal for writing, and notices when its files are taken away.

opened = OpenJournal.open(folder / "journal.db", create=True)
with opened.connection.begin(): ...
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Self

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from service.archive import events
from service.archive.migrate import MIGRATIONS, Schema, SchemaUnusable, schema_of, upgrade
from service.archive.prepared import driver_of
from service.archive.sqlite.connections import open_writer
from service.archive.sqlite.copying import copy_database
from service.archive.sqlite.failures import (
    DiskFailed,
    JournalUnusable,
    file_failure,
    primary_code,
)

logger = logging.getLogger("service.sqlite")

Identity = tuple[int, int]

_WAL = "-wal"

_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """The connection that writes, and which files it has open; for one thread."""

    path: Path
    connection: Connection
    files: tuple[Identity, Identity]

    @classmethod
    def open(cls, path: Path, *, create: bool, migrations: Path = MIGRATIONS) -> Self:
        """Open or create a journal, and bring it to this release's schema.

        Raises `JournalUnusable` if that is impossible; `DiskFailed` and SQLAlchemy's errors if the
        disk refuses now.
        """
        if not create and not path.exists():
            raise _files_gone(path)
        with _unusable_if_damaged(path):
            connection = open_writer(path, create=create)
            try:
                _migrate(path, connection, migrations)
                return cls(path, connection, _identities(path))
            except BaseException:
                connection.close()
                raise

    def probe(self) -> None:
        """Write and remove 64 kB, so that the disk shows whether it takes inspections.

        One page alone may find room where no inspection does.
        """
        with self.connection.begin():
            self.connection.exec_driver_sql("DROP TABLE IF EXISTS probe")
            self.connection.exec_driver_sql("CREATE TABLE probe AS SELECT zeroblob(65536) AS zeros")
        with self.connection.begin():
            self.connection.exec_driver_sql("DROP TABLE probe")

    def newest_event(self) -> int:
        """Return the number of the newest event."""
        with self.connection.begin():
            return events.last_number(self.connection)

    def checkpoint(self) -> None:
        """Move the log's pages into the file, as far as no reader needs the log."""
        driver_of(self.connection).execute("PRAGMA wal_checkpoint(PASSIVE)").close()

    def check_files(self) -> None:
        """Raise `DiskFailed` if the files are not those that are open.

        SQLite goes on writing into a file that was deleted, where nobody finds the rows.
        """
        if _identities(self.path) != self.files:
            raise _files_gone(self.path)

    def close(self) -> None:
        """Close the connection; if it is the last, SQLite moves the log into the file."""
        self.connection.close()


def wal_of(path: Path) -> Path:
    """Return the write-ahead log of a journal."""
    return path.with_name(f"{path.name}{_WAL}")


def log_sqlite() -> None:
    """Log which SQLite this Python has."""
    version = sqlite3.sqlite_version
    logger.info("the journal is written with SQLite %s", version)
    if has_wal_reset_fault(sqlite3.sqlite_version_info):
        logger.warning(
            "SQLite %s has the WAL-reset fault (fixed in 3.51.3, 3.50.7 and 3.44.6); it does not "
            "affect this service, in which one connection alone writes and checkpoints: let no "
            "other program write to the journal",
            version,
        )


def has_wal_reset_fault(version: tuple[int, ...]) -> bool:
    """Return whether two connections of this SQLite can lose a commit.

    >>> has_wal_reset_fault((3, 40, 1)), has_wal_reset_fault((3, 51, 3))
    (True, False)
    """
    fixed = {44: 6, 50: 7, 51: 3}
    major, minor, patch = version[:3]
    if major != 3:
        return False
    return minor < 52 and patch < fixed.get(minor, patch + 1)


def _migrate(path: Path, connection: Connection, migrations: Path) -> None:
    """Bring a journal to the schema of `migrations`; one with rows is copied first."""
    try:
        with connection.begin():
            schema = schema_of(connection, migrations)
        schema.check_usable()
    except SchemaUnusable as error:
        raise JournalUnusable(
            f"{path} cannot be used: {error}. Run the release that wrote it, restore a backup "
            "with `mambaad archive restore`, or move it away to begin a new one"
        ) from error
    if schema.is_older:
        if schema.revision is not None:
            _keep_copy(path, connection, schema)
        with connection.begin():
            upgrade(connection, migrations)
    elif not schema.is_known:
        logger.warning(
            "a newer release wrote the journal (schema %s); this release, with schema %s, uses the "
            "tables and columns that it knows",
            schema.revision,
            schema.head,
        )


def _keep_copy(path: Path, connection: Connection, schema: Schema) -> None:
    copy = path.with_name(f"{path.name}.before-{schema.head}")
    needed, free = path.stat().st_size, disk_usage(path.parent).free
    if free < needed:
        raise JournalUnusable(
            f"{path} is copied to {copy.name} before it is brought to this release's schema, "
            f"which takes {needed} bytes, and the disk has {free}: free some space"
        )
    copy_database(connection, copy)
    logger.info(
        "the journal of schema %s is copied to %s; that can be deleted once the release has proved "
        "itself",
        schema.revision,
        copy,
    )


@contextmanager
def _unusable_if_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if primary_code(error) in _DAMAGED:
            raise JournalUnusable(
                f"{path} is damaged, or is no journal ({error.orig}): restore a backup with "
                "`mambaad archive restore`, or move it away to begin a new one"
            ) from error
        raise
    except OSError as error:
        raise file_failure(error) from error


def _identities(path: Path) -> tuple[Identity, Identity]:
    try:
        return _identity(str(path)), _identity(f"{path}{_WAL}")
    except FileNotFoundError as error:
        raise _files_gone(path) from error
    except OSError as error:
        raise file_failure(error) from error


def _identity(path: str) -> Identity:
    status = os.stat(path)  # noqa: PTH116 - asked before every commit, and a Path takes longer
    return status.st_dev, status.st_ino


def _files_gone(path: Path) -> DiskFailed:
    return DiskFailed(
        f"{path.name} was removed or replaced while the service ran: put it back, or restart the "
        "service to begin a new one"
    )

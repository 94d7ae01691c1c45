"""Opens a journal for writing, and notices when its files are taken away.

opened = OpenJournal.open(folder / "journal.db", create=True)
with opened.connection.begin(): ...
"""

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, update

from service.archive import events
from service.archive.migrate import schema_of, upgrade
from service.archive.sqlite.connections import open_writer
from service.archive.sqlite.failures import DiskFailed, file_failure
from service.archive.tables import compatibility

logger = logging.getLogger("service.journal")

Identity = tuple[int, int]

_REWRITE = update(compatibility).values(oldest_writer=compatibility.c.oldest_writer)


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """The connection that writes, and which files it has open; for one thread."""

    path: Path
    connection: Connection
    files: tuple[Identity, Identity]

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Self:
        """Open or create a journal. Raises `DiskFailed` and SQLAlchemy's errors."""
        if not create and not path.exists():
            raise _files_gone(path)
        connection = open_writer(path, create=create)
        try:
            with connection.begin():
                if schema_of(connection).is_older:
                    upgrade(connection)
            return cls(path, connection, _identities(path))
        except BaseException:
            connection.close()
            raise

    def probe(self) -> int:
        """Write a page, so that the disk shows whether it takes it; return the newest event."""
        with self.connection.begin():
            self.connection.execute(_REWRITE)
            return events.last_number(self.connection)

    def checkpoint(self) -> None:
        """Move the log's pages into the file, as far as no reader needs the log."""
        driver = self.connection.connection.driver_connection
        assert driver is not None, "the journal is open"
        driver.execute("PRAGMA wal_checkpoint(PASSIVE)").close()

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
    return path.with_name(f"{path.name}-wal")


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


def _identities(path: Path) -> tuple[Identity, Identity]:
    try:
        return _identity(path), _identity(wal_of(path))
    except FileNotFoundError as error:
        raise _files_gone(path) from error
    except OSError as error:
        raise file_failure(error) from error


def _identity(path: Path) -> Identity:
    status = path.stat()
    return status.st_dev, status.st_ino


def _files_gone(path: Path) -> DiskFailed:
    return DiskFailed(
        f"{path.name} was removed or replaced while the service ran: put it back, or restart the "
        "service to begin a new one"
    )

"""Copies a SQLite database that is in use.

copy_database(connection, folder / "copy.db")
"""

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection

from model.durable import sync_folder
from service.archive.prepared import driver_of

_PAGES_OF_STEP = 2_500  # 10 MB between two reports of progress


def copy_database(
    connection: Connection, target: Path, progress: Callable[[float], None] | None = None
) -> None:
    """Copy all that a connection sees; the copy is there, on disk and complete, or not at all.

    In a transaction that has read, this is one snapshot, whatever is written meanwhile. `progress`
    gets the fraction that is done. A file that is there is replaced. Raises SQLite's errors and
    `OSError`.
    """
    staging = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        _copy(driver_of(connection), staging, progress)
        with staging.open("rb+") as file:
            os.fsync(file.fileno())
        staging.replace(target)
        sync_folder(target.parent)
    finally:
        with suppress(OSError):
            staging.unlink(missing_ok=True)


def _copy(
    source: sqlite3.Connection, staging: Path, progress: Callable[[float], None] | None
) -> None:
    def report(_status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(1 - remaining / total if total else 1.0)

    with closing(sqlite3.connect(staging, isolation_level=None)) as copy:
        # The file is synced once, at its end; half a copy is of no use after a power cut.
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(copy, pages=_PAGES_OF_STEP, progress=report, sleep=0)
        # One file, whose log nobody has to copy too.
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()

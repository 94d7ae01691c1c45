"""The spool's SQLite database: one table, which only one station may have open.

connection = connect(folder / DATABASE)
connection.execute(INSERT, row_of(part))
"""

import sqlite3
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (
    job INTEGER PRIMARY KEY AUTOINCREMENT,
    recipe INTEGER NOT NULL,
    trigger_number INTEGER NOT NULL,
    part_id TEXT NOT NULL,
    triggered_at TEXT NOT NULL,
    inspections TEXT NOT NULL,
    told TEXT,
    is_settled INTEGER NOT NULL DEFAULT 0
) STRICT
"""
COLUMNS = "job, recipe, trigger_number, part_id, triggered_at, inspections, told, is_settled"
INSERT = f"INSERT INTO parts ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_VERSION = 1
"""The schema's version, in the database's `user_version`; 0 is a file that was made just now."""
DATABASE = "spool.sqlite"


def identity_of(folder: Path) -> tuple[int, int]:
    """Return the device and inode of a spool's database. Raises `OSError`."""
    status = (folder / DATABASE).stat()
    return status.st_dev, status.st_ino


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, or make it. Raises `sqlite3.Error` and `ValueError`."""
    connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")
        _check(connection)
        with connection:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Raise `ValueError` for a damaged file, or one of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise ValueError(f"its schema is version {version}, expected {_VERSION}")
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise ValueError(f"its database is damaged: {' '.join(finding.split())}")

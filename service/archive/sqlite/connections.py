"""Opens the journal's file: one connection that writes, and a pool of those that read.

    with Readers(path).reading() as connection: ...

`PRAGMA synchronous=FULL`: a commit is on disk when it returns.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.archive.sqlite.failures import DiskFailed, disk_failure, unreadable

_BUSY_S = 1.0  # no other program should write; inspections wait this long for one that does
_READERS = 8
_READER_WAIT_S = 10.0
_CACHED_STATEMENTS = 256
_WAL_BYTES_KEPT = 64 * 2**20  # a larger WAL is cut to this size after a checkpoint
_FRAMES_BEFORE_FORCED_CHECKPOINT = 10_000  # 40 MB; the writing thread checkpoints much earlier

_WRITER = (
    # Only a new file takes this: the retention can return pages to the disk.
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA wal_autocheckpoint = {_FRAMES_BEFORE_FORCED_CHECKPOINT}",
    f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}",
)
_READER = ("PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0")


def open_writer(path: Path, *, create: bool) -> Connection:
    """Return the connection that writes; its transactions begin with BEGIN IMMEDIATE.

    It may be used by this thread alone. With `create`, a file that does not exist is made.
    """
    mode = "rwc" if create else "rw"
    engine = create_engine(
        "sqlite://", creator=_creator(path, mode, _WRITER), poolclass=NullPool, logging_name="write"
    )
    _begin_with(engine, "BEGIN IMMEDIATE")
    return engine.connect()


class Readers:
    """A pool of read-only connections; each is used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(
            "sqlite://",
            creator=_creator(path, "ro", _READER, any_thread=True),
            poolclass=QueuePool,
            pool_size=_READERS // 2,
            max_overflow=_READERS // 2,
            pool_timeout=_READER_WAIT_S,
        )
        _begin_with(self._engine, "BEGIN")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Return a connection that sees one snapshot, that of now."""
        try:
            with self._engine.connect() as connection, connection.begin():
                # SQLite takes the snapshot with the first read.
                connection.exec_driver_sql("SELECT 1 FROM sqlite_schema LIMIT 1").all()
                yield connection
        except (DBAPIError, sqlite3.Error, PoolTimeout, DiskFailed) as error:
            if failure := disk_failure(error):
                raise unreadable(failure) from error
            raise

    def close(self) -> None:
        """Close the connections that nobody uses; the others close when they are returned."""
        self._engine.dispose()


def _creator(
    path: Path, mode: str, pragmas: tuple[str, ...], *, any_thread: bool = False
) -> Callable[[], sqlite3.Connection]:
    def create() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,  # transactions begin where SQLAlchemy says so
            check_same_thread=not any_thread,
            cached_statements=_CACHED_STATEMENTS,
        )
        try:
            _prepare(connection, pragmas)
        except BaseException:
            connection.close()
            raise
        return connection

    return create


def _prepare(connection: sqlite3.Connection, pragmas: tuple[str, ...]) -> None:
    for pragma in pragmas:
        connection.execute(pragma).close()
    ((journal_mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
    if journal_mode != "wal":
        raise DiskFailed(
            f"it has no write-ahead log, but the mode {journal_mode!r}: put the state_dir on a "
            "local disk with free space"
        )


def _begin_with(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

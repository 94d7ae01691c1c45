"""The PostgreSQL that all nodes deliver to, searched and judged in.

    database = CentralDatabase("postgresql://mambaad@db.plant/mambaad")
    with database.reading() as connection: ...

Every call blocks. Each error of the connection or of the server becomes `ArchiveUnavailable`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.archive.migrate import SchemaUnusable, check_central, parse_url
from service.errors import ArchiveUnavailable, SearchTooBroad

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 3
_POOL_TIMEOUT_S = 3.0
_CONNECTIONS = 4
_LOCK_TIMEOUT_MS = 3_000
_LOST_AFTER_MS = 10_000
_RETRY_AFTER_S = 5
_REUSED_FOR_S = 600
_QUERY_CANCELED = "57014"
_NOT_MIGRATED = {"42P01", "42703", "42P10", "3F000"}  # no such table, column, key, schema
_CAME_BETWEEN = {"40001", "40P01"}  # serialization failure, deadlock
_ATTEMPTS = 3


class CentralDatabase:
    """A PostgreSQL with a few connections, which are opened when they are needed.

    `limit_s` bounds every statement.
    """

    def __init__(self, url: str, limit_s: float) -> None:
        """Open no connection yet. Raises `ValueError` if the URL is not of a PostgreSQL."""
        self._engine = _engine(parse_url(url), limit_s)
        self._limit_s = limit_s
        self._is_checked = False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Return a connection that sees one snapshot and cannot write.

        Raises `ArchiveUnavailable`, or `SearchTooBroad` if a statement took too long.
        """
        with self._in_words(), self._engine.connect() as connection:
            snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            with connection.execution_options(**snapshot).begin():
                self._check(connection)
                yield connection

    def change(self, call: Callable[[Connection], T]) -> T:
        """Run a call in a transaction, and again if another transaction came between.

        Raises `ArchiveUnavailable`.
        """
        with self._in_words():
            for _ in range(_ATTEMPTS - 1):
                try:
                    return self._change_once(call)
                except DBAPIError as error:
                    if getattr(error.orig, "sqlstate", None) not in _CAME_BETWEEN:
                        raise
            return self._change_once(call)

    def _change_once(self, call: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            self._check(connection)
            return call(connection)

    def _check(self, connection: Connection) -> None:
        """Raise `ArchiveUnavailable` if this release cannot use the tables."""
        if self._is_checked:
            return
        try:
            check_central(connection)
        except SchemaUnusable as error:
            raise ArchiveUnavailable(
                f"the archive's PostgreSQL cannot be used: {error}", _RETRY_AFTER_S
            ) from error
        self._is_checked = True

    def close(self) -> None:
        """Close the connections that nobody uses; the others close when they are returned."""
        self._engine.dispose()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Raise a database's error as one of the service."""
        try:
            yield
        except PoolTimeout as error:
            raise ArchiveUnavailable(
                f"all {_CONNECTIONS} connections to the archive's PostgreSQL are in use",
                _RETRY_AFTER_S,
            ) from error
        except DBAPIError as error:
            code = getattr(error.orig, "sqlstate", None)
            if code == _QUERY_CANCELED:
                raise too_broad(self._limit_s) from error
            raise ArchiveUnavailable(self._fault(code, error), _RETRY_AFTER_S) from error

    def _fault(self, code: str | None, error: DBAPIError) -> str:
        if code in _NOT_MIGRATED:
            return (
                "the archive's PostgreSQL does not have this release's tables: run "
                "`mambaad archive migrate`"
            )
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        place = self._engine.url.set(username=None, password=None, query={})
        return f"the archive's PostgreSQL ({place.render_as_string()}) cannot be used: {lines[0]}"


def too_broad(limit_s: float) -> SearchTooBroad:
    """Return the error of a search that took too long."""
    return SearchTooBroad(
        f"the search was not done within {limit_s:g} s: name a part, job, station or category, "
        "or a shorter time with `since` and `until`"
    )


def _engine(url: URL, limit_s: float) -> Engine:
    settings = {
        "statement_timeout": int(1000 * limit_s),
        "lock_timeout": _LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": int(1000 * limit_s),
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    given = {name: value for name, value in url.query.items() if name == "options"}
    return create_engine(
        url,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        pool_pre_ping=True,
        pool_recycle=_REUSED_FOR_S,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "tcp_user_timeout": _LOST_AFTER_MS,
            "application_name": "mambaad",
            "options": " ".join([options, *map(str, given.values())]),
        },
    )

"""Connections to the PostgreSQL of the shared state; every call blocks, and none for ever.

    with link.changing() as change:
        change.write(change.present.followed_by(record, node), record)

Each error of the connection, of the server or of its tables becomes `SharedStateUnavailable`.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from service.cutting import Cutter
from service.database.schema import SchemaUnusable, parse_url
from service.errors import SharedStateUnavailable
from service.settings.secrets import SecretUnreadable
from service.settings.versions import StateSettings
from service.shared import rows
from service.shared.document import Place, SharedState
from service.shared.rows import NoState, Reading
from service.shared.tables import CHANNEL, STEPS
from service.versions.state import AuditRecord

_RETRY_AFTER_S = 5
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_UNCHANGED = "nothing was changed, and inspections go on from the last state"
_IN_DOUBT = (
    "whether the change was made is not known: look at it once the PostgreSQL is back, before you "
    "make it again"
)


class Change:
    """A transaction that holds the state; `present` is None if there is none yet."""

    def __init__(self, connection: Connection, link: "Link") -> None:
        self._connection = connection
        self._link = link
        self.present = rows.lock(connection)

    def write(self, state: SharedState, record: AuditRecord | None) -> None:
        """Replace the state, with its record in the audit."""
        with self._link.limited():
            rows.write(self._connection, state, record)

    def add(self, records: Sequence[AuditRecord], node: str) -> None:
        """Add records of changes that are no states."""
        with self._link.limited():
            rows.add_records(self._connection, records, node)

    def records(self) -> list[AuditRecord]:
        """Return the whole audit, the oldest first."""
        with self._link.limited():
            return rows.read_records(self._connection)

    def reading(self, known: Place | None, after: int) -> Reading:
        """Return the state as this transaction leaves it, and the audit after a number."""
        with self._link.limited():
            return rows.read(self._connection, known, after)


class Link:
    """One connection at a time, opened when it is needed. Used by one thread at a time."""

    def __init__(self, settings: StateSettings, node: str) -> None:
        """Open nothing yet. Raises `ValueError` if the URL is not of a PostgreSQL."""
        assert settings.url is not None
        self._settings = settings
        self._open: psycopg.Connection[Any] | None = None
        self._cutter = Cutter(settings.timeout_s, self._descriptor)
        self._engine = self._made_engine(node)
        self._is_checked = False

    def read(self, known: Place | None, after: int) -> Reading:
        """Read the state in a connection of its own; see `rows.read`."""
        with self.session() as read:
            return read(known, after)

    @contextmanager
    def session(self) -> Iterator[Callable[[Place | None, int], Reading]]:
        """Open a connection that hears of changes; yields a function that reads the state.

        `wait` waits in it for a change.
        """
        with self._connected() as connection:
            with self.limited():
                self._check(connection)
                connection.exec_driver_sql(f"LISTEN {CHANNEL}")
                connection.commit()

            def read(known: Place | None, after: int) -> Reading:
                with self.limited(), connection.begin():
                    connection.exec_driver_sql(_SNAPSHOT)
                    return rows.read(connection, known, after)

            yield read

    def wait(self, seconds: float) -> None:
        """Wait until the open session hears of a change, for so long at most."""
        connection = self._open
        assert connection is not None, "within a session"
        with self._in_words(_UNCHANGED):
            connection.autocommit = True
            try:
                for _ in connection.notifies(timeout=seconds, stop_after=1):
                    pass
            finally:
                if not connection.closed:
                    connection.autocommit = False

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """Lock the state for a change, which is made when the block ends without an error.

        The time limit is for the PostgreSQL's answers, not for the block.
        """
        with self._connected() as connection:
            with self.limited():
                self._check(connection)
                change = Change(connection, self)
            yield change
            with self.limited(_IN_DOUBT):
                connection.commit()

    @contextmanager
    def limited(self, consequence: str = _UNCHANGED) -> Iterator[None]:
        """Cut the connection if the block takes too long; raise its errors in words."""
        with self._in_words(consequence), self._cutter.limited():
            yield

    def cut(self) -> None:
        """End whatever waits for the PostgreSQL, from another thread."""
        self._cutter.cut()

    def close(self) -> None:
        """End the thread that keeps the time."""
        self._cutter.close()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Open a connection for the block; it is closed also if it broke while it was opened."""
        broken = (SQLAlchemyError, psycopg.Error, OSError)
        try:
            with self.limited():
                connection = self._opened()
            try:
                yield connection
            finally:
                with suppress(*broken), self._cutter.limited():
                    connection.close()
        finally:
            if self._open is not None:
                with suppress(*broken):
                    self._open.close()
            self._open = None

    def _opened(self) -> Connection:
        try:
            return self._engine.connect()
        except SQLAlchemyError as error:
            # The frames of the error have the half-open connection, which would else be open as
            # long as anybody has the error.
            cause: BaseException | None = error
            while cause is not None:
                traceback.clear_frames(cause.__traceback__)
                cause = cause.__cause__ or cause.__context__
            raise

    def _made_engine(self, node: str) -> Engine:
        assert self._settings.url is not None
        timeout_ms = round(1000 * self._settings.timeout_s)
        url = parse_url(self._settings.url)
        given = str(url.query.get("options", ""))
        options = f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}"
        engine = create_engine(
            url,
            poolclass=NullPool,
            # A connection that is closed is undone anyway; a broken one would be logged.
            pool_reset_on_return=None,
            hide_parameters=True,
            connect_args={
                "connect_timeout": max(2, round(self._settings.timeout_s)),
                "application_name": f"mambaad {node}",
                "tcp_user_timeout": timeout_ms,
                "options": f"{options} {given}".strip(),
            },
        )

        @event.listens_for(engine, "do_connect")
        def connect(dialect: Any, _record: object, args: Any, values: Any) -> Any:  # noqa: ANN401
            password = self._settings.password()
            if password is not None:
                values["password"] = password.get_secret_value()
            # From the first query on, which is SQLAlchemy's own, the cutter can cut.
            self._open = dialect.connect(*args, **values)
            return self._open

        return engine

    def _descriptor(self) -> int | None:
        if self._open is not None:
            with suppress(psycopg.Error):  # closed
                return self._open.fileno()
        return None

    def _check(self, connection: Connection) -> None:
        """Raise `SchemaUnusable` if this release cannot use the tables."""
        if not self._is_checked:
            STEPS.check(connection)
            self._is_checked = True

    @contextmanager
    def _in_words(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except NoState as error:
            raise self._unavailable(str(error), consequence) from error
        except (SQLAlchemyError, psycopg.Error, OSError) as error:
            why = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
            if self._cutter.was_late:
                why = f"no answer within {self._settings.timeout_s:g} s"
            raise self._unavailable(why, consequence) from error
        except (SchemaUnusable, SecretUnreadable) as error:
            raise self._unavailable(str(error), consequence) from error

    def _unavailable(self, why: str, consequence: str) -> SharedStateUnavailable:
        url = self._engine.url
        place = URL.create("postgresql", host=url.host, port=url.port, database=url.database)
        return SharedStateUnavailable(
            f"the PostgreSQL of the shared state ({place.render_as_string()}) cannot be used: "
            f"{why}; {consequence}",
            _RETRY_AFTER_S,
        )

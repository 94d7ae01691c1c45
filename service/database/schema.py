"""Brings tables to this release's schema by steps that only add; see `service.archive.migrations`.

A step is a module with `revision`, `down_revision`, `oldest_writer` and `upgrade`.
"""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    URL,
    Connection,
    MetaData,
    NullPool,
    Table,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

_DRIVER = "postgresql+psycopg"
_CONNECT_TIMEOUT_S = 10


class SchemaUnusable(Exception):
    """The tables are not of use to this release; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision of a database's tables, beside that of this release.

    `revision` is None of a database without tables. `oldest_writer` is the oldest revision whose
    release can use the tables.
    """

    revision: str | None
    oldest_writer: str | None
    head: str
    is_known: bool

    @property
    def is_older(self) -> bool:
        """Whether `upgrade` has anything to do."""
        return self.revision is None or (self.is_known and self.revision != self.head)

    def check_usable(self) -> None:
        """Raise `SchemaUnusable` if only a newer release can use the tables."""
        if self.revision is None or self.is_known:
            return
        if self.oldest_writer is None or self.oldest_writer > self.head:
            raise SchemaUnusable(
                f"a newer release gave it the schema {self.revision!r}, and this release has "
                f"{self.head!r}: it needs a release with schema {self.oldest_writer!r} or newer"
            )


@dataclass(frozen=True, slots=True)
class Migration:
    """The revisions before and after; `before` is None of a database that had no tables."""

    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one room's tables.

    `compatibility` is the table that says which releases can write, `command` brings a PostgreSQL
    to this release's schema, `lock` is any number that no other program locks.
    """

    folder: Path
    tables: MetaData
    compatibility: Table
    version_table: str
    owner: str
    command: str
    lock: int

    def schema_of(self, connection: Connection) -> Schema:
        """Return a database's schema. Raises `SchemaUnusable` if another program made it."""
        script = self._script()
        head = script.get_current_head()
        assert head is not None, "there is at least one migration"
        tables = set(inspect(connection).get_table_names())
        if not {self.version_table, self.compatibility.name} <= tables:
            self._check_free(connection, tables)
            return Schema(None, None, head, is_known=False)
        revision = self._context(connection).get_current_revision()
        oldest_writer = connection.execute(select(self.compatibility.c.oldest_writer)).scalar()
        known = {step.revision for step in script.walk_revisions()}
        return Schema(revision, oldest_writer, head, is_known=revision in known)

    def upgrade(self, connection: Connection) -> None:
        """Run the steps that are missing, in the transaction of the connection."""
        script = self._script()
        context = self._context(connection)
        steps = list(script.iterate_revisions("head", context.get_current_revision() or "base"))
        with Operations.context(context):
            for step in reversed(steps):
                step.module.upgrade()
                context.stamp(script, step.revision)
        oldest_writer = max(step.module.oldest_writer for step in script.walk_revisions())
        connection.execute(delete(self.compatibility))
        connection.execute(insert(self.compatibility).values(oldest_writer=oldest_writer))

    def migrate(self, url: str, password: str | None = None) -> Migration:
        """Bring a PostgreSQL to this release's schema, all steps or none.

        Raises `ValueError` for a URL of another database, and `SchemaUnusable` with a message for
        the operator.
        """
        engine = create_engine(
            parse_url(url), poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S}
        )
        if password is not None:
            event.listen(engine, "do_connect", lambda *args: args[-1].update(password=password))
        try:
            with engine.begin() as connection:
                # A second command waits for the first, and finds nothing to do.
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": self.lock})
                _check_encoding(connection)
                schema = self.schema_of(connection)
                schema.check_usable()
                if schema.is_older:
                    self.upgrade(connection)
        except DBAPIError as error:
            line = str(error.orig).strip().partition("\n")[0]
            raise SchemaUnusable(f"the PostgreSQL cannot be migrated: {line}") from error
        return Migration(schema.revision, schema.head if schema.is_older else schema.revision or "")

    def check(self, connection: Connection) -> None:
        """Raise `SchemaUnusable` unless this release can use a PostgreSQL's tables as they are."""
        schema = self.schema_of(connection)
        if schema.is_older:
            raise SchemaUnusable(
                f"its tables have schema {schema.revision or 'none'}, and this release needs "
                f"{schema.head}: run `{self.command}`"
            )
        schema.check_usable()

    def _check_free(self, connection: Connection, tables: Set[str]) -> None:
        """Raise `SchemaUnusable` if the tables would come among those of another program.

        A PostgreSQL may have others beside them; a journal is a file of its own.
        """
        is_file = connection.dialect.name == "sqlite"
        taken = tables if is_file else tables & self.tables.tables.keys()
        if taken:
            raise SchemaUnusable(
                f"another program made its tables ({', '.join(sorted(taken)[:3])}): {self.owner} "
                "needs a database of its own"
            )

    def _context(self, connection: Connection) -> MigrationContext:
        options = {"transactional_ddl": True, "version_table": self.version_table}
        return MigrationContext.configure(connection, opts=options)

    def _script(self) -> ScriptDirectory:
        return ScriptDirectory(str(self.folder), version_locations=[str(self.folder)])


def parse_url(text: str) -> URL:
    """Return the URL of a PostgreSQL, with the driver. Raises `ValueError`.

    >>> parse_url("postgresql://db.plant/mambaad").drivername
    'postgresql+psycopg'
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ValueError(
            "expected a URL such as postgresql://user@host/database, got one that cannot be read"
        ) from error
    if url.get_backend_name() != "postgresql":
        raise ValueError(
            f"expected a URL such as postgresql://user@host/database, got {url.drivername}://..."
        )
    return url.set(drivername=_DRIVER)


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise SchemaUnusable(
            f"the database stores texts as {encoding}: create one with ENCODING 'UTF8', which "
            "takes every part id"
        )

"""Brings the tables of a journal or of a PostgreSQL to this release's schema.

    schema = schema_of(connection)
    if schema.is_older:
        upgrade(connection)

A journal is migrated when it is opened, after a backup. A PostgreSQL, which several releases may
use at the same time, is migrated by the command `mambaad archive migrate` alone:

    change = migrate("postgresql://mambaad@db.plant/mambaad")
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
    NullPool,
    create_engine,
    delete,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

from service.archive.tables import compatibility, metadata

MIGRATIONS = Path(__file__).parent / "migrations"

_DRIVER = "postgresql+psycopg"
_VERSION_TABLE = "archive_revision"
_LOCK = 0x4D414D4241414431  # any number that no other program locks
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


def schema_of(connection: Connection, migrations: Path = MIGRATIONS) -> Schema:
    """Return which schema a database has. Raises `SchemaUnusable` if another program made it."""
    script = _script(migrations)
    head = script.get_current_head()
    assert head is not None, "there is at least one migration"
    tables = set(inspect(connection).get_table_names())
    if not {_VERSION_TABLE, compatibility.name} <= tables:
        _check_free(connection, tables)
        return Schema(None, None, head, is_known=False)
    revision = _context(connection).get_current_revision()
    oldest_writer = connection.execute(select(compatibility.c.oldest_writer)).scalar()
    known = {step.revision for step in script.walk_revisions()}
    return Schema(revision, oldest_writer, head, is_known=revision in known)


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Run the steps that are missing, in the transaction of the connection."""
    script = _script(migrations)
    context = _context(connection)
    steps = list(script.iterate_revisions("head", context.get_current_revision() or "base"))
    with Operations.context(context):
        for step in reversed(steps):
            step.module.upgrade()
            context.stamp(script, step.revision)
    oldest_writer = max(step.module.oldest_writer for step in script.walk_revisions())
    connection.execute(delete(compatibility))
    connection.execute(insert(compatibility).values(oldest_writer=oldest_writer))


def migrate(url: str, migrations: Path = MIGRATIONS) -> Migration:
    """Bring a PostgreSQL to this release's schema, all steps or none.

    Raises `ValueError` for a URL of another database, and `SchemaUnusable` with a message for the
    operator.
    """
    engine = create_engine(
        parse_url(url), poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S}
    )
    try:
        with engine.begin() as connection:
            # A second command waits for the first, and finds nothing to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            _check_encoding(connection)
            schema = schema_of(connection, migrations)
            schema.check_usable()
            if schema.is_older:
                upgrade(connection, migrations)
    except DBAPIError as error:
        line = str(error.orig).strip().partition("\n")[0]
        raise SchemaUnusable(f"the PostgreSQL cannot be migrated: {line}") from error
    return Migration(schema.revision, schema.head if schema.is_older else schema.revision or "")


def check_central(connection: Connection) -> None:
    """Raise `SchemaUnusable` unless this release can use a PostgreSQL's tables as they are."""
    schema = schema_of(connection)
    if schema.is_older:
        raise SchemaUnusable(
            f"its tables have schema {schema.revision or 'none'}, and this release needs "
            f"{schema.head}: run `mambaad archive migrate`"
        )
    schema.check_usable()


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


def _check_free(connection: Connection, tables: Set[str]) -> None:
    """Raise `SchemaUnusable` if the archive's tables would come among those of another program.

    A PostgreSQL may have others beside them; a journal is a file of its own.
    """
    taken = tables if connection.dialect.name == "sqlite" else tables & metadata.tables.keys()
    if taken:
        raise SchemaUnusable(
            f"another program made its tables ({', '.join(sorted(taken)[:3])}): the archive needs "
            "a database of its own"
        )


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise SchemaUnusable(
            f"the database stores texts as {encoding}: create one with ENCODING 'UTF8', which "
            "takes every part id"
        )


def _context(connection: Connection) -> MigrationContext:
    options = {"transactional_ddl": True, "version_table": _VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options)


def _script(migrations: Path) -> ScriptDirectory:
    return ScriptDirectory(str(migrations), version_locations=[str(migrations)])

"""Brings the tables of a journal or of a PostgreSQL to this release's schema.

    state = schema_of(connection)
    if state.is_older:
        upgrade(connection)

A journal is migrated when it is opened, after a backup. A PostgreSQL, which several releases may
use at the same time, is migrated by `mambaad archive migrate URL` alone.
"""

from dataclasses import dataclass
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, insert, inspect, select

from service.archive.tables import compatibility

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaUnusable(Exception):
    """The tables are not of use to this release; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision of a database's tables, beside that of this release.

    `revision` is None of a database without tables. `oldest_writer` is what the release that made
    the tables says of older ones.
    """

    revision: str | None
    oldest_writer: str | None
    head: str
    is_known: bool

    @property
    def is_older(self) -> bool:
        """Whether `upgrade` has anything to do."""
        return self.revision is None or (self.is_known and self.revision != self.head)

    def check_readable(self) -> None:
        """Raise `SchemaUnusable` if only a newer release can use the tables."""
        if self.revision is None or self.is_known:
            return
        if self.oldest_writer is None or self.oldest_writer > self.head:
            raise SchemaUnusable(
                f"its schema is {self.revision!r}, which this release (schema {self.head!r}) "
                f"cannot use; it needs a release with schema {self.oldest_writer!r} or newer"
            )


def schema_of(connection: Connection, migrations: Path = MIGRATIONS) -> Schema:
    """Return which schema a database has. Raises `SchemaUnusable` if it is another program's."""
    script = _script(migrations)
    head = script.get_current_head()
    assert head is not None, "there is at least one migration"
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        if inspect(connection).has_table("inspections"):
            raise SchemaUnusable("it has a table `inspections` that this service did not make")
        return Schema(None, None, head, is_known=False)
    oldest_writer = connection.execute(select(compatibility.c.oldest_writer)).scalar()
    known = {step.revision for step in script.walk_revisions()}
    return Schema(revision, oldest_writer, head, is_known=revision in known)


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Run the steps that are missing, in the transaction of the connection."""
    script = _script(migrations)
    context = MigrationContext.configure(connection, opts={"transactional_ddl": True})
    steps = list(script.iterate_revisions("head", context.get_current_revision() or "base"))
    with Operations.context(context):
        for step in reversed(steps):
            step.module.upgrade()
            context.stamp(script, step.revision)
    oldest_writer = max(step.module.oldest_writer for step in script.walk_revisions())
    connection.execute(delete(compatibility))
    connection.execute(insert(compatibility).values(oldest_writer=oldest_writer))


def _script(migrations: Path) -> ScriptDirectory:
    return ScriptDirectory(migrations, version_locations=[migrations])

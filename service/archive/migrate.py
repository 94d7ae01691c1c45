"""Brings the tables of a journal or of a PostgreSQL to this release's schema.

    schema = schema_of(connection)
    if schema.is_older:
        upgrade(connection)

A journal is migrated when it is opened, after a backup. A PostgreSQL, which several releases may
use at the same time, is migrated by the command `mambaad archive migrate` alone:

    change = migrate("postgresql://mambaad@db.plant/mambaad")
"""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from service.archive.tables import compatibility, metadata
from service.database.schema import Migration, Schema, SchemaUnusable, Steps, parse_url

__all__ = [
    "MIGRATIONS",
    "Migration",
    "Schema",
    "SchemaUnusable",
    "check_central",
    "migrate",
    "parse_url",
    "schema_of",
    "upgrade",
]

MIGRATIONS = Path(__file__).parent / "migrations"

_STEPS = Steps(
    MIGRATIONS,
    tables=metadata,
    compatibility=compatibility,
    version_table="archive_revision",
    owner="the archive",
    command="mambaad archive migrate",
    lock=0x4D414D4241414431,
)


def schema_of(connection: Connection, migrations: Path = MIGRATIONS) -> Schema:
    """Return which schema a database has. Raises `SchemaUnusable` if another program made it."""
    return replace(_STEPS, folder=migrations).schema_of(connection)


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Run the steps that are missing, in the transaction of the connection."""
    replace(_STEPS, folder=migrations).upgrade(connection)


def migrate(url: str, migrations: Path = MIGRATIONS) -> Migration:
    """Bring a PostgreSQL to this release's schema, all steps or none.

    Raises `ValueError` for a URL of another database, and `SchemaUnusable` with a message for the
    operator.
    """
    return replace(_STEPS, folder=migrations).migrate(url)


def check_central(connection: Connection) -> None:
    """Raise `SchemaUnusable` unless this release can use a PostgreSQL's tables as they are."""
    _STEPS.check(connection)

"""The tables of the shared state; a change needs a step in `service/shared/migrations/`."""

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)

from service.database.schema import Steps

CHANNEL = "mambaad_state"
"""Where a change is notified."""

metadata = MetaData()

compatibility = Table(
    "mambaad_state_compatibility", metadata, Column("oldest_writer", String(32), nullable=False)
)

states = Table(
    "mambaad_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("lineage", Uuid, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("change_id", Uuid, nullable=False),
    Column("document", Text, nullable=False),
    CheckConstraint("id = 1", name="mambaad_state_one_row"),
)
"""One row, the present state; `document` has all of it in JSON."""

changes = Table(
    "mambaad_state_changes",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("version", BigInteger),
    Column("change_id", Uuid, unique=True),
    Column("node", Text, nullable=False),
    Column("record", Text),
)
"""The audit. Only a row of a new state has a version and a change; only they may lack a record."""

STEPS = Steps(
    Path(__file__).parent / "migrations",
    tables=metadata,
    compatibility=compatibility,
    version_table="mambaad_state_revision",
    owner="the shared state",
    command="mambaad state migrate",
    lock=0x4D414D4253544154,
)

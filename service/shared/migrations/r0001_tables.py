"""Makes the tables of the first release."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Integer,
    String,
    Text,
    Uuid,
)

revision = "0001"
down_revision = None
oldest_writer = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "mambaad_state_compatibility", Column("oldest_writer", String(32), nullable=False)
    )
    op.create_table(
        "mambaad_state",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("lineage", Uuid, nullable=False),
        Column("generation", BigInteger, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("change_id", Uuid, nullable=False),
        Column("document", Text, nullable=False),
        CheckConstraint("id = 1", name="mambaad_state_one_row"),
    )
    op.create_table(
        "mambaad_state_changes",
        Column("number", BigInteger, Identity(always=True), primary_key=True),
        Column("version", BigInteger),
        Column("change_id", Uuid, unique=True),
        Column("node", Text, nullable=False),
        Column("record", Text),
    )

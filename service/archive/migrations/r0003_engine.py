"""Adds the library and precision that computed a view; rows from before have none."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0003"
down_revision = "0002"
oldest_writer = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("views", Column("engine", Text))

"""Indexes of the page Review and of searches by result; verdicts may be withdrawn from now on."""

from alembic import op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"
oldest_writer = "0002"  # the release before cannot read a verdict that was withdrawn

_NEWEST = ["received_at", "inspection_id"]
_TO_JUDGE = "told IN ('REVIEW', 'UNDECIDED', 'NG') AND verdict IS NULL AND origin != 'test'"


def upgrade() -> None:
    """Make the indexes."""
    where = text(_TO_JUDGE)
    op.create_index(
        "inspections_to_judge", "inspections", [*_NEWEST, "category", "station"],
        sqlite_where=where, postgresql_where=where,
    )  # fmt: skip
    results = ["score", "found", "told", "origin", "category", "station", "repeats"]
    op.create_index("inspections_by_result", "inspections", [*_NEWEST, *results])

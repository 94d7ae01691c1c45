"""Makes the tables of the first release; a PostgreSQL has none of the journal's own."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    text,
)

from service.archive.column_types import Identifier

revision = "0001"
down_revision = None
oldest_writer = "0001"


def upgrade() -> None:
    """Make the tables and their indexes."""
    op.create_table("compatibility", Column("oldest_writer", String(32), nullable=False))
    _create_inspections()
    _index_inspections()
    _create_views()
    _create_judgements()
    _create_rollups()
    if op.get_bind().dialect.name == "sqlite":
        _create_events()
        _create_sinks()


def _create_inspections() -> None:
    op.create_table(
        "inspections",
        Column("inspection_id", Identifier, primary_key=True),
        Column("node", String(100), nullable=False),
        Column("number", BigInteger, nullable=False),
        Column("station_number", BigInteger, nullable=False),
        Column("received_at", BigInteger, nullable=False),
        Column("captured_at", BigInteger),
        Column("origin", String(8), nullable=False),
        Column("category", Text, nullable=False),
        Column("part_id", Text),
        Column("station", Text),
        Column("job_id", Text),
        Column("meta", Text),
        Column("told", String(12), nullable=False),
        Column("source", String(12), nullable=False),
        Column("told_reason", Text),
        Column("fail_safe", String(12)),
        Column("found", String(12)),
        Column("score", Float(53)),
        Column("raw_score", Float(53)),
        Column("threshold", Float(53)),
        Column("review_threshold", Float(53)),
        Column("model_name", Text),
        Column("model_version", Text),
        Column("model_sha256", LargeBinary(32)),
        Column("calibration_version", Text),
        Column("request_id", Text, nullable=False),
        Column("caller", Text, nullable=False),
        Column("problem", Text),
        Column("problem_detail", Text),
        Column("repeats", Integer, nullable=False, server_default=text("1")),
        Column("verdict", String(12)),
        Column("is_held", Boolean, nullable=False, server_default=text("false")),
        sqlite_with_rowid=False,
    )


def _index_inspections() -> None:
    _index("inspections_by_number", "inspections", ["node", "number"])
    newest = ["received_at", "inspection_id"]
    _index("inspections_by_time", "inspections", newest)
    _index("inspections_of_station", "inspections", ["station", *newest])
    _index("inspections_of_category", "inspections", ["category", *newest])
    _index("inspections_of_part", "inspections", ["part_id", *newest], "part_id IS NOT NULL")
    _index("inspections_of_job", "inspections", ["job_id", *newest], "job_id IS NOT NULL")
    open_review = "told IN ('REVIEW', 'UNDECIDED') AND verdict IS NULL"
    place = ["category", "station"]
    _index("open_reviews", "inspections", [*newest, *place], open_review)
    _index("inspections_rejected", "inspections", [*newest, *place], "told = 'NG'")
    judged = [*newest, *place, "verdict"]
    _index("inspections_judged", "inspections", judged, "verdict IS NOT NULL")
    _index("inspections_held", "inspections", newest, "is_held")


def _create_views() -> None:
    inspection = ForeignKey("inspections.inspection_id", ondelete="CASCADE")
    op.create_table(
        "views",
        Column("inspection_id", Identifier, inspection, primary_key=True),
        Column("view", SmallInteger, primary_key=True),
        Column("filename", Text),
        Column("width", Integer),
        Column("height", Integer),
        Column("image_bytes", BigInteger),
        Column("image_sha256", LargeBinary(32)),
        Column("image_state", String(12), nullable=False),
        Column("image_deleted_at", BigInteger),
        Column("map_sha256", LargeBinary(32)),
        Column("map_state", String(12), nullable=False),
        Column("map_deleted_at", BigInteger),
        Column("found", String(12)),
        Column("score", Float(53)),
        Column("raw_score", Float(53)),
        Column("threshold", Float(53)),
        Column("regions", Text),
        Column("timings_ms", Text),
        Column("problem", Text),
        Column("problem_detail", Text),
        sqlite_with_rowid=False,
    )
    kept = "(image_state = 'kept' OR map_state = 'kept')"
    _index("views_kept", "views", ["inspection_id"], kept)
    _index("views_with_image", "views", ["image_sha256"], "image_state = 'kept'")
    _index("views_with_map", "views", ["map_sha256"], "map_state = 'kept'")


def _create_judgements() -> None:
    op.create_table(
        "verdicts",
        Column("event_id", Identifier, primary_key=True),
        Column("inspection_id", Identifier, nullable=False),
        Column("verdict", String(12), nullable=False),
        Column("defect_class", Text),
        Column("comment", Text),
        Column("author", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
    )
    _index("verdicts_of_inspection", "verdicts", ["inspection_id", "at"])
    op.create_table(
        "holds",
        Column("event_id", Identifier, primary_key=True),
        Column("inspection_id", Identifier, nullable=False),
        Column("is_held", Boolean, nullable=False),
        Column("reason", Text),
        Column("author", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
    )
    _index("holds_of_inspection", "holds", ["inspection_id", "at"])


def _create_rollups() -> None:
    op.create_table(
        "rollups",
        Column("category", Text, primary_key=True),
        Column("hour", BigInteger, primary_key=True, autoincrement=False),
        Column("node", String(100), primary_key=True),
        Column("station", Text, primary_key=True),
        Column("told", String(12), primary_key=True),
        Column("verdict", String(12), primary_key=True),
        Column("score_bin", SmallInteger, primary_key=True),
        Column("origin", String(8), primary_key=True),
        Column("parts", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    _index("rollups_by_hour", "rollups", ["hour"])


def _create_events() -> None:
    op.create_table(
        "events",
        Column("number", Integer, primary_key=True, autoincrement=True),
        Column("event_id", Identifier, nullable=False),
        Column("inspection_id", Identifier, nullable=False),
        Column("kind", String(12), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("station", Text),
        Column("station_number", BigInteger, nullable=False),
        Column("origin", String(8), nullable=False),
        Column("payload", Text),
        sqlite_autoincrement=True,
    )
    _index("events_of_inspection", "events", ["inspection_id"])
    op.create_table(
        "station_numbers",
        Column("station", Text, primary_key=True),
        Column("last_number", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_sinks() -> None:
    op.create_table(
        "thinned_hours",
        Column("hour", BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sinks",
        Column("sink", String(100), primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dead_letters",
        Column("sink", String(100), primary_key=True),
        Column("number", BigInteger, primary_key=True),
        Column("event_id", Identifier, nullable=False),
        Column("reason", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _index(name: str, table: str, columns: list[str], condition: str | None = None) -> None:
    where = None if condition is None else text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)

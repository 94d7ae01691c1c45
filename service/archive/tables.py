"""The archive's tables, for SQLite and PostgreSQL.

Times are whole microseconds since 1970 in UTC, so that both databases sort and index them alike.
`JOURNAL_TABLES` exist only in a node's journal. Change nothing here without a migration: later
releases only add columns and tables, so that the previous release still opens the journal.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    text,
)

from service.archive.column_types import Identifier, Moment, PlainText, Sha256

SCORE_BINS = 50
"""Bins of the histogram of scores, over 0 to 1; bin -1 has the parts without a score."""

metadata = MetaData()

inspections = Table(
    "inspections",
    metadata,
    Column("inspection_id", Identifier, primary_key=True),
    Column("node", String(100), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("station_number", BigInteger, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("captured_at", Moment),
    Column("origin", String(8), nullable=False),
    Column("category", PlainText, nullable=False),
    Column("part_id", PlainText),
    Column("station", PlainText),
    Column("job_id", PlainText),
    Column("meta", PlainText),
    Column("told", String(12), nullable=False),
    Column("source", String(12), nullable=False),
    Column("told_reason", PlainText),
    Column("fail_safe", String(12)),
    Column("found", String(12)),
    Column("score", Float(53)),
    Column("raw_score", Float(53)),
    Column("threshold", Float(53)),
    Column("review_threshold", Float(53)),
    Column("model_name", PlainText),
    Column("model_version", PlainText),
    Column("model_sha256", Sha256),
    Column("calibration_version", PlainText),
    Column("request_id", PlainText, nullable=False),
    Column("caller", PlainText, nullable=False),
    Column("problem", PlainText),
    Column("problem_detail", PlainText),
    Column("repeats", Integer, nullable=False, server_default=text("1")),
    Column("verdict", String(12)),
    Column("is_held", Boolean, nullable=False, server_default=text("false")),
    sqlite_with_rowid=False,
)

views = Table(
    "views",
    metadata,
    Column(
        "inspection_id",
        Identifier,
        ForeignKey("inspections.inspection_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("view", SmallInteger, primary_key=True),
    Column("filename", PlainText),
    Column("width", Integer),
    Column("height", Integer),
    Column("image_bytes", BigInteger),
    Column("image_sha256", Sha256),
    Column("image_state", String(12), nullable=False),
    Column("image_deleted_at", Moment),
    Column("map_sha256", Sha256),
    Column("map_state", String(12), nullable=False),
    Column("map_deleted_at", Moment),
    Column("found", String(12)),
    Column("score", Float(53)),
    Column("raw_score", Float(53)),
    Column("threshold", Float(53)),
    Column("regions", PlainText),
    Column("timings_ms", PlainText),
    Column("problem", PlainText),
    Column("problem_detail", PlainText),
    Column("engine", PlainText),
    sqlite_with_rowid=False,
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("event_id", Identifier, primary_key=True),
    Column("inspection_id", Identifier, nullable=False),
    Column("verdict", String(12), nullable=False),
    Column("defect_class", PlainText),
    Column("comment", PlainText),
    Column("author", PlainText, nullable=False),
    Column("at", Moment, nullable=False),
    Index("verdicts_of_inspection", "inspection_id", "at"),
)

holds = Table(
    "holds",
    metadata,
    Column("event_id", Identifier, primary_key=True),
    Column("inspection_id", Identifier, nullable=False),
    Column("is_held", Boolean, nullable=False),
    Column("reason", PlainText),
    Column("author", PlainText, nullable=False),
    Column("at", Moment, nullable=False),
    Index("holds_of_inspection", "inspection_id", "at"),
)

rollups = Table(
    "rollups",
    metadata,
    Column("category", PlainText, primary_key=True),
    Column("hour", Moment, primary_key=True),
    Column("node", String(100), primary_key=True),
    Column("station", PlainText, primary_key=True),  # "" without a station
    Column("told", String(12), primary_key=True),
    Column("verdict", String(12), primary_key=True),  # "" without a verdict
    Column("score_bin", SmallInteger, primary_key=True),
    Column("origin", String(8), primary_key=True),
    Column("parts", BigInteger, nullable=False),
    Index("rollups_by_hour", "hour"),
    sqlite_with_rowid=False,
)
"""Parts by hour of `received_at`; those of origin `test` are not counted."""

events = Table(
    "events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("event_id", Identifier, nullable=False),
    Column("inspection_id", Identifier, nullable=False),
    Column("kind", String(12), nullable=False),
    Column("at", Moment, nullable=False),
    Column("station", PlainText),
    Column("station_number", BigInteger, nullable=False),
    Column("origin", String(8), nullable=False),
    Column("payload", PlainText),
    sqlite_autoincrement=True,  # a number is never used twice, though old events are deleted
)

station_numbers = Table(
    "station_numbers",
    metadata,
    Column("station", PlainText, primary_key=True),
    Column("last_number", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

sinks = Table(
    "sinks",
    metadata,
    Column("sink", String(100), primary_key=True),
    Column("position", BigInteger, nullable=False),  # number of the last event that it has taken
    Column("at", Moment, nullable=False),
    sqlite_with_rowid=False,
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("sink", String(100), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("event_id", Identifier, nullable=False),
    Column("reason", PlainText, nullable=False),
    Column("at", Moment, nullable=False),
    sqlite_with_rowid=False,
)

compatibility = Table(
    "compatibility",
    metadata,
    Column("oldest_writer", String(32), nullable=False),
)
"""One row: the oldest revision whose release can still read and write these tables."""

thinned_hours = Table(
    "thinned_hours",
    metadata,
    Column("hour", Moment, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Hours of `received_at` from which rows were deleted; their roll-ups count more than is left."""

JOURNAL_TABLES = (events, station_numbers, sinks, dead_letters, thinned_hours)
CENTRAL_TABLES = (inspections, views, verdicts, holds, rollups, compatibility)
"""Those that the PostgreSQL of all nodes has; a journal has these and `JOURNAL_TABLES`."""

RESULTS = ("score", "found", "told", "origin", "category", "station", "repeats")
"""Columns of `inspections_by_result`: searches of rare results and counts read it alone."""

# What is searched: by time, by station, by category, one part; what waits for a person, was
# rejected, or was judged. The partial indexes have category and station too, so that PostgreSQL
# passes over those of others in the index.
_newest = (inspections.c.received_at, inspections.c.inspection_id)
Index("inspections_by_time", *_newest)
Index(
    "inspections_by_result", *_newest, *(inspections.c[name] for name in RESULTS)
)  # fmt: skip
Index("inspections_of_station", inspections.c.station, *_newest)
Index("inspections_of_category", inspections.c.category, *_newest)
Index(
    "inspections_of_part", inspections.c.part_id, *_newest,
    sqlite_where=inspections.c.part_id.is_not(None),
    postgresql_where=inspections.c.part_id.is_not(None),
)  # fmt: skip
Index(
    "inspections_of_job", inspections.c.job_id, *_newest,
    sqlite_where=inspections.c.job_id.is_not(None),
    postgresql_where=inspections.c.job_id.is_not(None),
)  # fmt: skip
OPEN_REVIEW = text("told IN ('REVIEW', 'UNDECIDED') AND verdict IS NULL")
"""A query must contain exactly this condition, or SQLite does not use the index.

The same is true for the next four.
"""

TO_JUDGE = text("told IN ('REVIEW', 'UNDECIDED', 'NG') AND verdict IS NULL AND origin != 'test'")
"""The parts that wait for a person on the page Review."""

REJECTED = text("told = 'NG'")
JUDGED = text("verdict IS NOT NULL")
HELD = text("is_held")
_place = (inspections.c.category, inspections.c.station)

Index(
    "open_reviews", *_newest, *_place, sqlite_where=OPEN_REVIEW, postgresql_where=OPEN_REVIEW
)  # fmt: skip
Index(
    "inspections_to_judge", *_newest, *_place, sqlite_where=TO_JUDGE, postgresql_where=TO_JUDGE
)  # fmt: skip
Index(
    "inspections_rejected", *_newest, *_place, sqlite_where=REJECTED, postgresql_where=REJECTED
)  # fmt: skip
Index(
    "inspections_judged", *_newest, *_place, inspections.c.verdict,
    sqlite_where=JUDGED, postgresql_where=JUDGED,
)  # fmt: skip
Index(
    "inspections_held", *_newest, sqlite_where=HELD, postgresql_where=HELD,
)  # fmt: skip
Index("inspections_by_number", inspections.c.node, inspections.c.number, unique=False)
Index("events_of_inspection", events.c.inspection_id)
KEPT = text("(image_state = 'kept' OR map_state = 'kept')")
"""Views with a file; the retention's queries contain exactly this condition."""

Index("views_kept", views.c.inspection_id, sqlite_where=KEPT, postgresql_where=KEPT)
for _kind in ("image", "map"):
    Index(
        f"views_with_{_kind}", views.c[f"{_kind}_sha256"],
        sqlite_where=text(f"{_kind}_state = 'kept'"),
        postgresql_where=text(f"{_kind}_state = 'kept'"),
    )  # fmt: skip

"""Finds inspections by a filter: a page at a time, newest first.

    page = search(connection, Filter(station="EL-3", told=Decision.NG), limit=50)
    older = search(connection, Filter(station="EL-3", told=Decision.NG), limit=50, after=page.end)

A page begins after a position, not after a number of rows, so that rows that come or go between two
pages neither repeat nor hide others.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, TextClause, or_, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from model.inspection import Decision
from service.archive import store
from service.archive.records import InspectionRecord, Verdict
from service.archive.tables import HELD, JUDGED, OPEN_REVIEW, REJECTED, inspections
from service.inspection.submission import Origin

NO_VERDICT: Literal["none"] = "none"
VerdictFilter: TypeAlias = Verdict | Literal["none"]

_Condition: TypeAlias = ColumnElement[bool] | TextClause
_EQUAL = (
    "category", "station", "part_id", "job_id", "told", "found", "origin", "model_name",
    "model_version",
)  # fmt: skip
_WHOLE_INDEXES = {
    "inspections_of_part": "part_id",
    "inspections_of_job": "job_id",
    "inspections_of_station": "station",
    "inspections_of_category": "category",
}
"""The first column of each index that has every inspection with a value."""

BY_RESULT = "inspections_by_result"
_RESULTS = ("found", "origin", "min_score", "max_score")
"""What may be rare, and has no index of its own."""

_COVERED = (*_RESULTS, "told", "category", "station", "since", "until")
"""What `BY_RESULT` answers without the inspections' rows."""

_PARTIAL_INDEXES = {
    "open_reviews": OPEN_REVIEW,
    "inspections_judged": JUDGED,
    "inspections_held": HELD,
    "inspections_rejected": REJECTED,
}
"""The condition of each index that has few inspections; a query must contain exactly this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The inspections that are searched; None does not filter.

    `since` is included, `until` is not; both are aware and bound `received_at`. `verdict` may be
    `NO_VERDICT`. An open review was told REVIEW or UNDECIDED and has no verdict.
    """

    category: str | None = None
    station: str | None = None
    part_id: str | None = None
    job_id: str | None = None
    told: Decision | None = None
    found: Decision | None = None
    verdict: VerdictFilter | None = None
    model_name: str | None = None
    model_version: str | None = None
    origin: Origin | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None
    max_score: float | None = None
    is_held: bool | None = None
    is_open_review: bool = False

    @property
    def text(self) -> str:
        """The filter as text, equal for equal filters."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({name: _plain(value) for name, value in values.items()}, sort_keys=True)


class Position(NamedTuple):
    """The place of an inspection in the order of all."""

    received_at: datetime
    inspection_id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """Inspections, newest first; the next page begins after `end`, None on the last page."""

    inspections: Sequence[InspectionRecord]
    end: Position | None


def search(
    connection: Connection, wanted: Filter, limit: int, after: Position | None = None
) -> Page:
    """Return the newest inspections that the filter wants, after a position."""
    rows = connection.execute(page_query(wanted, limit + 1, after)).mappings().all()
    records = store.records_of(connection, [dict(row) for row in rows[:limit]])
    if len(rows) <= limit:
        return Page(records, None)
    return Page(records, Position(records[-1].received_at, records[-1].inspection_id))


def page_query(wanted: Filter, limit: int, after: Position | None = None) -> Select[Any]:
    """Return the query of a page.

    SQLite keeps no statistics and would take any index that fits, so only the condition of the
    chosen index is written in a way that lets it use one.
    """
    index = index_for(wanted)
    columns = (inspections.c.received_at, inspections.c.inspection_id)
    newest = [column.desc() for column in columns]
    conditions = _conditions(wanted, index)
    if after is not None:
        conditions.append(tuple_(*columns) < tuple_(*after, types=[c.type for c in columns]))
    if index != BY_RESULT:
        return select(inspections).where(*conditions).order_by(*newest).limit(limit)
    # A million rows may be passed over: in the index alone, which has all that is asked for.
    ids = select(inspections.c.inspection_id).where(*conditions).order_by(*newest).limit(limit)
    return select(inspections).where(inspections.c.inspection_id.in_(ids)).order_by(*newest)


def index_for(wanted: Filter) -> str:
    """Return the index of the smallest set, by experience, that has all wanted inspections."""
    has_results = any(getattr(wanted, name) is not None for name in _RESULTS)
    is_covered = has_results and wanted == _with_only(wanted, *_COVERED)
    smallest_first = (
        ("inspections_of_part", wanted.part_id is not None),
        ("inspections_of_job", wanted.job_id is not None),
        ("open_reviews", wanted.is_open_review),
        ("inspections_judged", isinstance(wanted.verdict, Verdict)),
        ("inspections_held", wanted.is_held is True),
        ("inspections_rejected", wanted.told is Decision.NG),
        (BY_RESULT, is_covered),
        ("inspections_of_station", wanted.station is not None),
        ("inspections_of_category", wanted.category is not None),
    )
    return next((index for index, fits in smallest_first if fits), "inspections_by_time")


def _with_only(wanted: Filter, *names: str) -> Filter:
    """Return a filter with these fields alone."""
    return Filter(**{name: getattr(wanted, name) for name in names})


def _conditions(wanted: Filter, index: str) -> list[_Condition]:
    columns, conditions = inspections.c, list[_Condition]()
    for name in _EQUAL:
        value = getattr(wanted, name)
        if value is not None:
            is_indexed = name == _WHOLE_INDEXES.get(index)
            column = columns[name] if is_indexed else unindexed(columns[name])
            conditions.append(column == _plain(value))
    if wanted.since is not None:
        conditions.append(columns.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(columns.received_at < wanted.until)
    if wanted.min_score is not None:
        conditions.append(columns.score >= wanted.min_score)
    if wanted.max_score is not None:
        conditions.append(columns.score <= wanted.max_score)
    return [*conditions, *_conditions_of_judgements(wanted, index)]


def _conditions_of_judgements(wanted: Filter, index: str) -> list[_Condition]:
    told, verdict = unindexed(inspections.c.told), unindexed(inspections.c.verdict)
    conditions = list[_Condition]()
    if index in _PARTIAL_INDEXES:
        conditions.append(_PARTIAL_INDEXES[index])
    elif wanted.is_open_review:
        conditions += [or_(told == "REVIEW", told == "UNDECIDED"), verdict.is_(None)]
    if isinstance(wanted.verdict, Verdict):
        conditions.append(verdict == wanted.verdict.value)
    elif wanted.verdict == NO_VERDICT:
        conditions.append(verdict.is_(None))
    if wanted.is_held is not None:
        conditions.append(unindexed(inspections.c.is_held) == wanted.is_held)
    return conditions


class unindexed(FunctionElement[Any]):  # noqa: N801 - named like a function of SQL
    """A column; SQLite uses no index for a condition on it."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(unindexed)
def _compile(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return compiler.process(element.clauses, **options)


@compiles(unindexed, "sqlite")
def _compile_for_sqlite(
    element: unindexed,
    compiler: SQLCompiler,
    **options: Any,  # noqa: ANN401
) -> str:
    return "+" + compiler.process(element.clauses, **options)


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, datetime):
        return value.timestamp()
    return value.value if isinstance(value, StrEnum) else value

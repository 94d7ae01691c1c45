"""Writes and reads records through one connection, to SQLite or PostgreSQL.

    store.insert(connection, [inspection])
    store.find(connection, inspection.inspection_id)

Nothing here begins or commits a transaction.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Connection, Table, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from model.inspection import Decision
from service.archive.prepared import PreparedInsert
from service.archive.records import (
    DecisionSource,
    InspectionRecord,
    MediaState,
    Verdict,
    ViewRecord,
)
from service.archive.tables import SCORE_BINS, inspections, rollups, views
from service.inspection.submission import Origin

_ENUMS: Mapping[str, type[StrEnum]] = {
    "told": Decision,
    "found": Decision,
    "source": DecisionSource,
    "origin": Origin,
    "verdict": Verdict,
    "image_state": MediaState,
    "map_state": MediaState,
}
_JSON = frozenset({"meta", "regions", "timings_ms"})
_OWN_FIELDS = [field.name for field in fields(InspectionRecord) if field.name != "views"]
_VIEW_FIELDS = [field.name for field in fields(ViewRecord)]
_own_values = attrgetter(*_OWN_FIELDS)
_view_values = attrgetter(*_VIEW_FIELDS)
_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_KEY = ("hour", "category", "node", "station", "told", "verdict", "score_bin", "origin")

# Statements are made once: making them takes longer than SQLite takes to run them.
_DIALECTS: Mapping[str, Any] = {"sqlite": sqlite, "postgresql": postgresql}
_INSERT = PreparedInsert(inspections.insert(), _OWN_FIELDS)
_INSERT_IF_NEW = {
    name: dialect.insert(inspections)
    .on_conflict_do_nothing()
    .returning(inspections.c.inspection_id)
    for name, dialect in _DIALECTS.items()
}
_INSERT_VIEWS = views.insert()
_INSERT_VIEWS_OF_JOURNAL = PreparedInsert(_INSERT_VIEWS, ["inspection_id", "view", *_VIEW_FIELDS])


def _add_parts(insert_: Any) -> Any:  # noqa: ANN401 - either dialect's Insert
    return insert_.on_conflict_do_update(
        index_elements=[rollups.c[name] for name in _KEY],
        set_={"parts": rollups.c.parts + insert_.excluded.parts},
    )


_ADD_PARTS = {name: _add_parts(dialect.insert(rollups)) for name, dialect in _DIALECTS.items()}
_ADD_PARTS_OF_JOURNAL = PreparedInsert(_ADD_PARTS["sqlite"], [*_KEY, "parts"])
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_SELECT_PARTS = select(inspections).where(inspections.c.inspection_id.in_(_IDS))
_SELECT_VIEWS = (
    select(views)
    .where(views.c.inspection_id.in_(_IDS))
    .order_by(views.c.inspection_id, views.c.view)
)


def insert(connection: Connection, records: Sequence[InspectionRecord]) -> set[UUID]:
    """Insert inspections with their views, and count them; return the ids of the new ones.

    An inspection whose id is already there is left as it is.
    """
    if not records:
        return set()
    rows = [_row_of(record) for record in records]
    inserted = connection.execute(_INSERT_IF_NEW[connection.dialect.name], rows)
    new = set(inserted.scalars())
    _add_to(connection, [record for record in records if record.inspection_id in new])
    return new


def insert_new(connection: Connection, records: Sequence[InspectionRecord]) -> None:
    """Like `insert`, but faster; for SQLite alone, and each inspection must be new."""
    _INSERT.run(connection, map(_row_of, records))
    _add_to(connection, records)


def _add_to(connection: Connection, records: Sequence[InspectionRecord]) -> None:
    """Add the views of inspections that were inserted, and count them."""
    if view_rows := [row for record in records for row in _view_rows_of(record)]:
        _run(connection, _INSERT_VIEWS, _INSERT_VIEWS_OF_JOURNAL, view_rows)
    count(connection, records)


def _run(
    connection: Connection,
    statement: Any,  # noqa: ANN401 - any dialect's Insert
    of_journal: PreparedInsert,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Insert rows by the faster way where the database is SQLite."""
    if connection.dialect.name == "sqlite":
        of_journal.run(connection, rows)
    else:
        connection.execute(statement, rows)


def insert_once(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row unless its key is there."""
    statement = _DIALECTS[connection.dialect.name].insert(table)
    connection.execute(statement.on_conflict_do_nothing(), row)


def replace_record(
    connection: Connection, before: InspectionRecord, after: InspectionRecord
) -> None:
    """Write another state of an inspection, its views included, and count it anew."""
    row = _row_of(after)
    identifier = row.pop("inspection_id")
    connection.execute(
        update(inspections).where(inspections.c.inspection_id == identifier).values(row)
    )
    connection.execute(delete(views).where(views.c.inspection_id == identifier))
    if view_rows := _view_rows_of(after):
        _run(connection, _INSERT_VIEWS, _INSERT_VIEWS_OF_JOURNAL, view_rows)
    _count_anew(connection, before, after)


def find(connection: Connection, inspection_id: UUID) -> InspectionRecord | None:
    """Return an inspection; None if it is not there."""
    return next(iter(find_all(connection, [inspection_id])), None)


def find_all(connection: Connection, ids: Sequence[UUID]) -> list[InspectionRecord]:
    """Return the inspections that are there, in the order of `ids`."""
    rows = connection.execute(_SELECT_PARTS, {"ids": list(ids)})
    return sorted_as(ids, records_of(connection, [dict(row) for row in rows.mappings()]))


def find_to_change(connection: Connection, ids: Sequence[UUID]) -> list[InspectionRecord]:
    """Return inspections that no other transaction can change until the end of this one."""
    condition = inspections.c.inspection_id.in_(bindparam("ids", expanding=True))
    # In one order, so that two transactions do not wait for each other.
    ordered = select(inspections.c.inspection_id).where(condition).order_by("inspection_id")
    connection.execute(ordered.with_for_update(), {"ids": list(ids)})
    return find_all(connection, ids)


def sorted_as(ids: Sequence[UUID], records: Iterable[InspectionRecord]) -> list[InspectionRecord]:
    """Return the records in the order of `ids`."""
    by_id = {record.inspection_id: record for record in records}
    return [by_id[identifier] for identifier in ids if identifier in by_id]


def records_of(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[InspectionRecord]:
    """Return the records of rows of `inspections`, with their views, in the same order."""
    if not rows:
        return []
    ids = [row["inspection_id"] for row in rows]
    of_id: dict[UUID, list[ViewRecord]] = {}
    for row in connection.execute(_SELECT_VIEWS, {"ids": ids}).mappings():
        of_id.setdefault(row["inspection_id"], []).append(_view_of(dict(row)))
    return [_record_of(row, of_id.get(row["inspection_id"], ())) for row in rows]


def count(connection: Connection, records: Iterable[InspectionRecord], sign: int = 1) -> None:
    """Add the parts to the roll-ups, or with `sign` -1 take them out; tests are not counted."""
    _add(connection, [(record, sign) for record in records])


def _count_anew(connection: Connection, before: InspectionRecord, after: InspectionRecord) -> None:
    _add(connection, [(before, -1), (after, 1)])


def _add(connection: Connection, signed: Iterable[tuple[InspectionRecord, int]]) -> None:
    parts: Counter[tuple[Any, ...]] = Counter()
    for record, sign in signed:
        if record.origin is not Origin.TEST:
            parts[_rollup_key(record)] += sign * record.repeats
    changed = sorted((key, number) for key, number in parts.items() if number)
    if not changed:
        return
    # Sorted, so that two writers of a PostgreSQL lock the rows in the same order.
    rows = [{**dict(zip(_KEY, key, strict=True)), "parts": number} for key, number in changed]
    _run(connection, _ADD_PARTS[connection.dialect.name], _ADD_PARTS_OF_JOURNAL, rows)


def recount(
    connection: Connection, before: InspectionRecord, verdict: Verdict | None
) -> InspectionRecord:
    """Count an inspection under another verdict; return it with that verdict."""
    after = replace(before, verdict=verdict)
    _count_anew(connection, before, after)
    return after


def score_bin(score: float | None) -> int:
    """Return the bin of a score from 0 to 1; -1 without a score.

    >>> score_bin(0.5), score_bin(1.0), score_bin(None)
    (25, 49, -1)
    """
    return -1 if score is None else min(int(score * SCORE_BINS), SCORE_BINS - 1)


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of a time's hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _rollup_key(record: InspectionRecord) -> tuple[Any, ...]:
    return (
        hour_of(record.received_at),
        record.category,
        record.node,
        record.station or "",
        record.told.value,
        record.verdict.value if record.verdict else "",
        score_bin(record.score),
        record.origin.value,
    )


def _row_of(record: InspectionRecord) -> dict[str, Any]:
    return _columns(_OWN_FIELDS, _own_values(record))


def _view_rows_of(record: InspectionRecord) -> list[dict[str, Any]]:
    return [
        {
            "inspection_id": record.inspection_id,
            "view": number,
            **_columns(_VIEW_FIELDS, _view_values(view)),
        }
        for number, view in enumerate(record.views)
    ]


def _record_of(row: Mapping[str, Any], of_part: Sequence[ViewRecord]) -> InspectionRecord:
    values = {name: _from_column(name, row[name]) for name in _OWN_FIELDS}
    return InspectionRecord(**values, views=tuple(of_part))


def _view_of(row: Mapping[str, Any]) -> ViewRecord:
    view = ViewRecord(**{name: _from_column(name, row[name]) for name in _VIEW_FIELDS})
    return view if view.regions else replace(view, regions=())


def _columns(names: Sequence[str], values: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row's columns by name, made from a record's values."""
    row = dict(zip(names, values, strict=True))
    for name in _ENUMS.keys() & row.keys():
        if row[name] is not None:
            row[name] = row[name].value
    for name in _JSON & row.keys():
        row[name] = _to_json(row[name]) if row[name] else None
    return row


def _from_column(name: str, value: Any) -> Any:  # noqa: ANN401 - any column
    if value is None:
        return None
    if name in _JSON:
        return json.loads(value)
    return _ENUMS[name](value) if name in _ENUMS else value

"""Appends events to the journal, in the order of the commits; `delivery` carries them to the sinks.

    number = events.append(connection, EventKind.VERDICT, inspection, payload={...})

Only the journal's writing thread may append: in a change that `Journal.write` runs.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from service.archive.identifiers import new_id
from service.archive.prepared import PreparedInsert, driver_of
from service.archive.records import EventKind, InspectionRecord
from service.archive.tables import events

_INSERT = PreparedInsert(events.insert(), [column.name for column in events.c])
_LAST_NUMBER = f"SELECT seq FROM sqlite_sequence WHERE name = '{events.name}'"


def last_number(connection: Connection) -> int:
    """Return the number of the newest event ever appended; 0 if there was none."""
    row = driver_of(connection).execute(_LAST_NUMBER).fetchone()
    return row[0] if row else 0


def append(
    connection: Connection,
    kind: EventKind,
    inspection: InspectionRecord,
    *,
    event_id: UUID | None = None,
    payload: Mapping[str, Any] | None = None,
) -> int:
    """Append an event about an inspection that is in the journal; return the event's number."""
    number = last_number(connection) + 1
    row = _row_of(kind, inspection, number, event_id or new_id())
    row["payload"] = json.dumps(payload, allow_nan=False) if payload else None
    _INSERT.run(connection, [row])
    return number


def append_inspections(connection: Connection, numbered: Sequence[InspectionRecord]) -> None:
    """Append the events of new inspections, under the numbers that these have."""
    rows = [
        _row_of(EventKind.INSPECTION, record, record.number, record.inspection_id)
        for record in numbered
    ]
    _INSERT.run(connection, rows)


def _row_of(
    kind: EventKind, inspection: InspectionRecord, number: int, event_id: UUID
) -> dict[str, Any]:
    return {
        "number": number,
        "event_id": event_id,
        "inspection_id": inspection.inspection_id,
        "kind": kind.value,
        "at": datetime.now(UTC),
        "station": inspection.station,
        "station_number": inspection.station_number,
        "origin": inspection.origin.value,
        "payload": None,
    }

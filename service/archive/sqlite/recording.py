"""Records inspections in one transaction: numbers, rows, views, events, roll-ups.

outcomes = record_all(connection, "line-1", [inspection])
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Connection

from service.archive import events, store
from service.archive.column_types import storable
from service.archive.journal import AlreadyRecorded, Recorded
from service.archive.prepared import driver_of
from service.archive.records import EventKind, InspectionRecord
from service.archive.tables import inspections, station_numbers
from service.inspection.submission import Origin

_IS_THERE = f"SELECT 1 FROM {inspections.name} WHERE inspection_id = ?"
_TAKE_NUMBERS = f"""
INSERT INTO {station_numbers.name} (station, last_number) VALUES (?1, ?2)
ON CONFLICT (station) DO UPDATE SET last_number = last_number + ?2
RETURNING last_number
"""


def record_all(
    connection: Connection, node: str, records: Sequence[InspectionRecord]
) -> list[Recorded | AlreadyRecorded]:
    """Record the inspections that are not in the journal; their ids are all different."""
    ids = [record.inspection_id for record in records]
    stored = _stored(connection, ids)
    fresh = [record for record in records if record.inspection_id not in stored]
    numbered = _number(connection, node, fresh)
    if numbered:
        store.insert_new(connection, numbered)
        events.append_inspections(connection, numbered)
    recorded = {
        record.inspection_id: Recorded(record.number, record.station_number) for record in numbered
    }
    return [
        recorded[identifier] if identifier in recorded else AlreadyRecorded(stored[identifier])
        for identifier in ids
    ]


def update(connection: Connection, before: InspectionRecord, after: InspectionRecord) -> Recorded:
    """Replace an inspection if it is still as `before`, and append an event of kind `update`."""
    assert before.inspection_id == after.inspection_id, "an update is of one inspection"
    stored = store.find(connection, before.inspection_id)
    if stored is None:
        raise KeyError(before.inspection_id)
    if stored != before:
        raise AlreadyRecorded(stored)
    after = replace(
        after,
        node=stored.node,
        number=stored.number,
        station_number=_number_after(connection, stored, after),
        verdict=stored.verdict,
        is_held=stored.is_held,
    )
    store.replace_record(connection, stored, after)
    events.append(connection, EventKind.UPDATE, after)
    return Recorded(after.number, after.station_number)


def _stored(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, InspectionRecord]:
    """Return the inspections that are there, usually none.

    SQLite is asked itself: SQLAlchemy would make a new statement for each number of ids.
    """
    driver = driver_of(connection)
    there = [key for key in ids if driver.execute(_IS_THERE, (key.bytes,)).fetchone()]
    records = store.find_all(connection, there) if there else []
    return {record.inspection_id: record for record in records}


def _number_after(connection: Connection, stored: InspectionRecord, after: InspectionRecord) -> int:
    """Return the station's number: another only if the inspection moves to another count."""
    if after.origin is Origin.TEST:
        return 0
    if stored.station_number and stored.station == after.station:
        return stored.station_number
    return _take_numbers(connection, storable(after.station or ""), 1)


def _number(
    connection: Connection, node: str, records: Sequence[InspectionRecord]
) -> list[InspectionRecord]:
    """Return the inspections with the numbers of their events, and of their stations."""
    of_station = Counter(
        storable(record.station or "") for record in records if record.origin is not Origin.TEST
    )
    next_of_station = {
        station: _take_numbers(connection, station, count) for station, count in of_station.items()
    }
    first = events.last_number(connection) + 1
    numbered = []
    for number, record in enumerate(records, first):
        station_number = 0
        if record.origin is not Origin.TEST:
            station = storable(record.station or "")
            station_number = next_of_station[station]
            next_of_station[station] += 1
        numbered.append(replace(record, node=node, number=number, station_number=station_number))
    return numbered


def _take_numbers(connection: Connection, station: str, count: int) -> int:
    """Return the first of a station's next `count` numbers."""
    ((last,),) = driver_of(connection).execute(_TAKE_NUMBERS, (station, count)).fetchall()
    return int(last) - count + 1

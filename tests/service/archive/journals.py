"""Inspections to record, and journals to record them in."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, select

from model.inspection import Decision
from service.archive import store
from service.archive.identifiers import new_id
from service.archive.journal import Recorded
from service.archive.records import DecisionSource, InspectionRecord, MediaState, ViewRecord
from service.archive.sqlite_journal import SqliteJournal
from service.archive.tables import events, inspections, rollups
from service.telemetry.metrics.archive import ArchiveMetrics

NOW = datetime(2026, 11, 29, 6, 30, 0, 123456, tzinfo=UTC)
NODE = "line-1"
LATER_S = 60.0


def part(**fields: Any) -> InspectionRecord:
    """Make an inspection of a good part."""
    values: dict[str, Any] = {
        "inspection_id": new_id(),
        "received_at": NOW,
        "category": "bolt",
        "told": Decision.OK,
        "source": DecisionSource.NETWORK,
        "station": "press",
        "found": Decision.OK,
        "score": 0.25,
        "request_id": "abc",
        "caller": "line-1",
        "views": (ViewRecord(image_state=MediaState.NOT_SAMPLED, found=Decision.OK, score=0.25),),
    }
    return InspectionRecord(**(values | fields))


def refusal(**fields: Any) -> InspectionRecord:
    """Make the record of a part that was refused."""
    values: dict[str, Any] = {
        "told": Decision.UNDECIDED,
        "source": DecisionSource.FAIL_SAFE,
        "found": None,
        "score": None,
        "problem": "queue-full",
        "views": (),
    }
    return part(**(values | fields))


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[SqliteJournal]:
    """Open a journal, and close it."""
    journal = SqliteJournal.open(folder, NODE, **options)
    try:
        yield journal
    finally:
        journal.close()


def record(journal: SqliteJournal, *parts: InspectionRecord) -> list[Recorded]:
    """Record inspections, all at once."""

    async def all_of_them() -> list[Recorded]:
        deadline = asyncio.get_running_loop().time() + LATER_S
        return await asyncio.gather(*(journal.record(part, deadline) for part in parts))

    return asyncio.run(all_of_them())


def update(journal: SqliteJournal, before: InspectionRecord, after: InspectionRecord) -> Recorded:
    """Replace an inspection."""

    async def replace() -> Recorded:
        deadline = asyncio.get_running_loop().time() + LATER_S
        return await journal.update(before, after, deadline)

    return asyncio.run(replace())


def found(journal: SqliteJournal, part: InspectionRecord) -> InspectionRecord | None:
    """Read an inspection."""
    with journal.reading() as connection:
        return store.find(connection, part.inspection_id)


def rows_of(journal: SqliteJournal) -> list[InspectionRecord]:
    """Read all inspections, in the order of their numbers."""
    with journal.reading() as connection:
        statement = select(inspections).order_by(inspections.c.number)
        rows = [dict(row) for row in connection.execute(statement).mappings()]
        return store.records_of(connection, rows)


def events_of(journal: SqliteJournal) -> list[tuple[int, str, int]]:
    """Read the number, the kind and the station's number of every event."""
    columns = (events.c.number, events.c.kind, events.c.station_number)
    with journal.reading() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(columns[0]))]


def counts_of(journal: SqliteJournal) -> dict[str, int]:
    """Read how many parts the roll-ups have of each decision, those of 0 left out."""
    counts: dict[str, int] = {}
    with journal.reading() as connection:
        for told, parts in connection.execute(select(rollups.c.told, rollups.c.parts)):
            counts[told] = counts.get(told, 0) + parts
    return {told: parts for told, parts in counts.items() if parts}


class Blocked:
    """A change that keeps the writing thread busy until `release`."""

    def __init__(self) -> None:
        self._began = threading.Event()
        self._released = threading.Event()

    def __call__(self, _: Connection) -> None:
        self._began.set()
        assert self._released.wait(LATER_S)

    def wait(self) -> None:
        """Wait until the thread runs the change."""
        assert self._began.wait(LATER_S)

    def release(self) -> None:
        """Let the thread go on."""
        self._released.set()


def metrics() -> ArchiveMetrics:
    """Make metrics in a registry of their own."""
    return ArchiveMetrics(CollectorRegistry())

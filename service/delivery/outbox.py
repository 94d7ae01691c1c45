"""Reads events after a position, with their inspections, and makes parcels of those to deliver.

reading = outbox.read(position, limit=10)
reading.parcels, reading.last          # `last` is the position once all parcels are delivered
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from service.archive import store
from service.archive.events import last_number
from service.archive.journal import Journal
from service.archive.records import Event, EventKind, InspectionRecord
from service.archive.tables import dead_letters, events
from service.delivery.message import MessageMaker, Parcel
from service.inspection.submission import Origin
from service.settings.sinks import CommonSettings

logger = logging.getLogger("service.outbox")


@dataclass(frozen=True, slots=True)
class Reading:
    """The next parcels of a sink, and the number of the last event that was read for them."""

    parcels: Sequence[Parcel]
    last: int


@dataclass(frozen=True, slots=True)
class Period:
    """Events from `since` to before `until`, numbered up to `through`."""

    since: datetime
    until: datetime
    through: int


class Outbox:
    """The journal's events for one sink; tests are never delivered."""

    def __init__(self, journal: Journal, maker: MessageMaker, wanted: CommonSettings) -> None:
        self._journal = journal
        self._maker = maker
        self._kinds = frozenset(wanted.events)
        self._decisions = frozenset(wanted.decisions)

    def read(self, after: int, limit: int) -> Reading | None:
        """Return up to `limit` parcels after a number; None at the newest event.

        A reading without parcels says that no event up to `last` is for this sink.
        """
        with self._journal.reading() as connection:
            page = self._page(connection, [events.c.number > after], limit)
            last = page[-1].number if len(page) == limit else last_number(connection)
            if last <= after:
                return None
            return Reading(self._pack(connection, page), last)

    def read_period(self, period: Period, after: int, limit: int) -> Reading | None:
        """Return parcels of a period after a number; None at its end."""
        conditions = [
            events.c.number > after,
            events.c.number <= period.through,
            events.c.at >= period.since,
            events.c.at < period.until,
        ]
        with self._journal.reading() as connection:
            page = self._page(connection, conditions, limit)
            return Reading(self._pack(connection, page), page[-1].number) if page else None

    def read_dead(self, sink: str, after: int, limit: int) -> Reading | None:
        """Return parcels of a sink's dead letters after a number; None at their end.

        A dead letter whose event is no longer in the journal has no parcel.
        """
        letters = select(dead_letters.c.number).where(
            dead_letters.c.sink == sink, dead_letters.c.number > after
        )
        with self._journal.reading() as connection:
            numbers = connection.execute(
                letters.order_by(dead_letters.c.number).limit(limit)
            ).scalars()
            if not (page := list(numbers)):
                return None
            found = _events_of(connection, select(events).where(events.c.number.in_(page)))
            return Reading(self._pack(connection, found, all_decisions=True), page[-1])

    def _page(
        self, connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int
    ) -> list[Event]:
        query = select(events).where(
            *conditions, events.c.origin != Origin.TEST.value, events.c.kind.in_(self._kinds)
        )
        return _events_of(connection, query.order_by(events.c.number).limit(limit))

    def _pack(
        self, connection: Connection, chosen: Sequence[Event], *, all_decisions: bool = False
    ) -> list[Parcel]:
        ids = list({event.inspection_id for event in chosen})
        by_id = {found.inspection_id: found for found in store.find_all(connection, ids)}
        parcels = []
        for event in chosen:
            inspection = by_id.get(event.inspection_id)
            if inspection is None and event.kind in (EventKind.INSPECTION, EventKind.UPDATE):
                logger.warning(
                    "event %d is not delivered: its inspection %s was deleted from the journal",
                    event.number, event.inspection_id,
                )  # fmt: skip
            elif all_decisions or self._passes(inspection):
                parcels.append(self._maker.pack(event, inspection))
        return parcels

    def _passes(self, inspection: InspectionRecord | None) -> bool:
        return inspection is None or inspection.told.value in self._decisions


def _events_of(connection: Connection, query: Select[Any]) -> list[Event]:
    return [
        Event(
            number=row.number,
            event_id=row.event_id,
            inspection_id=row.inspection_id,
            kind=EventKind(row.kind),
            at=row.at,
            station=row.station,
            station_number=row.station_number,
            origin=Origin(row.origin),
            payload=json.loads(row.payload) if row.payload else None,
        )
        for row in connection.execute(query)
    ]

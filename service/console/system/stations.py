"""The stations, as far as the archive knows them by their parts.

stations = await door.archive.read(partial(stations_of, now=datetime.now(UTC)))
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, func, select

from model.inspection import Decision
from service.archive.searching.search import unindexed
from service.archive.tables import inspections
from service.inspection.submission import Origin

_MAX_STATIONS = 200
_HOUR = timedelta(hours=1)
_ON_LINE = inspections.c.origin != Origin.TEST.value


@dataclass(frozen=True, slots=True)
class StationView:
    """A station: its last part, and its parts of the last hour."""

    name: str
    part_id: str | None
    inspection_id: str
    category: str
    told: str
    last_at: datetime
    silent_s: float
    parts: int
    undecided: float | None


def stations_of(connection: Connection, now: datetime) -> list[StationView]:
    """Return every station by name: of each, one row of an index; and the rows of an hour."""
    counts = _last_hour(connection, now - _HOUR)
    views = []
    for name in connection.execute(_names().limit(_MAX_STATIONS)).scalars().all():
        query = (
            select(inspections)
            .where(inspections.c.station == name, _ON_LINE)
            .order_by(inspections.c.received_at.desc(), inspections.c.inspection_id.desc())
            .limit(1)
        )
        last = connection.execute(query).first()
        if last is None:  # it has sent tests alone
            continue
        of_station = counts.get(name, Counter())
        parts = of_station.total()
        views.append(
            StationView(
                name=name,
                part_id=last.part_id,
                inspection_id=str(last.inspection_id),
                category=last.category,
                told=last.told,
                last_at=last.received_at,
                silent_s=max(0.0, (now - last.received_at).total_seconds()),
                parts=parts,
                undecided=of_station[Decision.UNDECIDED.value] / parts if parts else None,
            )
        )
    return views


def _last_hour(connection: Connection, since: datetime) -> dict[str, Counter[str]]:
    columns = inspections.c
    station = unindexed(columns.station)  # else SQLite walks through the hours of every station
    query = (
        select(columns.station, columns.told, func.sum(columns.repeats))
        .where(columns.received_at >= since, station.is_not(None), _ON_LINE)
        .group_by(station, columns.told)
    )
    counts: dict[str, Counter[str]] = {}
    for station, told, parts in connection.execute(query):
        counts.setdefault(station, Counter())[told] += int(parts)
    return counts


def _names() -> Select[str]:
    """Return a query of all stations that looks up one key of the index for each."""
    station = inspections.c.station
    first = select(func.min(station).label("station")).cte("found", recursive=True)
    following = select(func.min(station)).where(station > first.c.station).scalar_subquery()
    found = first.union_all(select(following).where(first.c.station.is_not(None)))
    return select(found.c.station).where(found.c.station.is_not(None))

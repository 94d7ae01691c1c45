"""The board of the page Live: the last parts of each place, and its counts since the shift began.

    board = load(connection, "line-1", shift)
    board = follow(connection, board)

A place is a station, or a category whose parts name no station. The board is as of one number of
the node's journal, and following it reads only what came after: no part is missed or counted twice.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Table, func, select

from model.inspection import Decision
from service.archive import events as journal_events
from service.archive import store
from service.archive.records import EventKind, InspectionRecord
from service.archive.tables import JUDGED, OPEN_REVIEW, events, inspections, rollups
from service.console.board.shifts import Shift
from service.console.records import IS_INPUT, PartState, state_of
from service.inspection.submission import Origin

LAST_PARTS = 30
_SHOWN = timedelta(days=7)
_MAX_PLACES = 60
_MAX_NEW = 500
_HOUR = timedelta(hours=1)


class Place(NamedTuple):
    """A station, or a category of parts without a station."""

    is_station: bool
    name: str


@dataclass(frozen=True, slots=True)
class Tile:
    """A place: its last parts, the newest first, and its counts by what the line was told.

    `inputs` are the UNDECIDED parts whose image was unusable. The tile has not changed since the
    journal's number `changed_at`.
    """

    place: Place
    parts: Sequence[InspectionRecord]
    counts: Mapping[Decision, int]
    inputs: int
    changed_at: int

    @property
    def total(self) -> int:
        """Parts since the shift began."""
        return sum(self.counts.values())

    @property
    def shown(self) -> dict[PartState, int]:
        """Parts since the shift began, by their state."""
        counts = {PartState(told.value): parts for told, parts in self.counts.items()}
        undecided = counts.get(PartState.UNDECIDED, 0) - self.inputs
        return counts | {PartState.UNDECIDED: undecided, PartState.INPUT: self.inputs}

    @property
    def ng_share(self) -> float | None:
        """The share of NG in the parts with a decision; None without one."""
        decided = self.total - self.counts.get(Decision.UNDECIDED, 0)
        return self.counts.get(Decision.NG, 0) / decided if decided else None


@dataclass(frozen=True, slots=True)
class Board:
    """All places as of a number of the node's journal."""

    node: str
    number: int
    shift: Shift
    tiles: Mapping[Place, Tile]

    @property
    def cursor(self) -> str:
        """The board's place in the journal, and when its counts begin: a `Last-Event-ID`."""
        return f"{self._series}:{self.number}"

    def tiles_after(self, cursor: str) -> list[Tile]:
        """Return the tiles that changed after a cursor; all if its counts began at another time."""
        series, _, number = cursor.rpartition(":")
        last_seen = int(number) if series == self._series and number.isdecimal() else 0
        if last_seen > self.number:  # a journal that was restored from a backup counts anew
            last_seen = 0
        return [tile for tile in self.tiles.values() if tile.changed_at > last_seen]

    @property
    def _series(self) -> str:
        return f"{self.node}:{self.shift.since:%Y%m%dT%H%M}"


def load(connection: Connection, node: str, shift: Shift) -> Board:
    """Read the whole board."""
    number = journal_events.last_number(connection)
    places = _places(connection, shift.until - _SHOWN)
    tiles = _load_tiles(connection, places, shift, number)
    return Board(node, number, shift, {place: tile for place, tile in tiles.items() if tile.parts})


def follow(connection: Connection, board: Board) -> Board:
    """Return the board as of now, with what came after its number."""
    newest = journal_events.last_number(connection)
    if newest == board.number:
        return board
    if newest < board.number or newest - board.number > _MAX_NEW:
        return load(connection, board.node, board.shift)
    kinds = (EventKind.INSPECTION.value, EventKind.UPDATE.value)
    rows = connection.execute(
        select(events.c.inspection_id, events.c.kind)
        .where(
            events.c.number > board.number,
            events.c.kind.in_(kinds),
            events.c.origin != Origin.TEST.value,
        )
        .order_by(events.c.number)
    ).all()
    changed = {row.inspection_id for row in rows if row.kind == EventKind.UPDATE.value}
    records = store.find_all(connection, list({row.inspection_id: None for row in rows}))
    return _with_records(connection, replace(board, number=newest), records, changed)


def _with_records(
    connection: Connection,
    board: Board,
    records: Iterable[InspectionRecord],
    changed: set[UUID],
) -> Board:
    """Add new parts to their places; read a place again if an older part of it has changed."""
    tiles = dict(board.tiles)
    to_load = set[Place]()
    for record in records:
        place = place_of(record)
        if record.inspection_id in changed or place not in tiles:
            to_load.add(place)
        else:
            tiles[place] = _with_part(tiles[place], record, board)
    tiles |= _load_tiles(connection, to_load, board.shift, board.number)
    return replace(board, tiles=tiles)


def place_of(record: InspectionRecord) -> Place:
    """Return where a part is shown."""
    return Place(True, record.station) if record.station else Place(False, record.category)


def _with_part(tile: Tile, record: InspectionRecord, board: Board) -> Tile:
    parts = sorted([record, *tile.parts], key=_by_time, reverse=True)[:LAST_PARTS]
    counts, inputs = Counter(tile.counts), tile.inputs
    if record.received_at >= board.shift.since:
        counts[record.told] += record.repeats
        inputs += record.repeats if state_of(record) is PartState.INPUT else 0
    return Tile(tile.place, parts, counts, inputs, board.number)


def _by_time(record: InspectionRecord) -> tuple[datetime, UUID]:
    return record.received_at, record.inspection_id


def _places(connection: Connection, since: datetime) -> list[Place]:
    """Return the places of the last days; tests are in no roll-up."""
    query = (
        select(rollups.c.station, rollups.c.category)
        .where(rollups.c.hour >= since, rollups.c.parts > 0)
        .distinct()
    )
    places = {
        Place(True, row.station) if row.station else Place(False, row.category)
        for row in connection.execute(query)
    }
    return sorted(places, key=lambda place: (not place.is_station, place.name))[:_MAX_PLACES]


def _load_tiles(
    connection: Connection, places: Collection[Place], shift: Shift, number: int
) -> dict[Place, Tile]:
    inputs = _inputs(connection, shift.since) if places else {}
    return {
        place: _load_tile(connection, place, shift, inputs.get(place, 0), number)
        for place in places
    }


def _load_tile(
    connection: Connection, place: Place, shift: Shift, inputs: int, number: int
) -> Tile:
    columns = (inspections.c.received_at.desc(), inspections.c.inspection_id.desc())
    query = (
        select(inspections)
        .where(_at(place, inspections), inspections.c.origin != Origin.TEST.value)
        .order_by(*columns)
        .limit(LAST_PARTS)
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    parts = store.records_of(connection, rows)
    return Tile(place, parts, _counts(connection, place, shift.since), inputs, number)


def _counts(connection: Connection, place: Place, since: datetime) -> Counter[Decision]:
    """Count parts by roll-ups, and those of a shift's first broken hour by their rows."""
    next_hour = store.hour_of(since)
    counts = Counter[Decision]()
    if next_hour < since:
        next_hour += _HOUR
        counted = func.sum(inspections.c.repeats)
        query = select(inspections.c.told, counted).where(
            _at(place, inspections),
            inspections.c.origin != Origin.TEST.value,
            inspections.c.received_at >= since,
            inspections.c.received_at < next_hour,
        )
        for told, parts in connection.execute(query.group_by(inspections.c.told)):
            counts[Decision(told)] += int(parts)
    summed = select(rollups.c.told, func.sum(rollups.c.parts)).where(
        _at(place, rollups), rollups.c.hour >= next_hour
    )
    for told, parts in connection.execute(summed.group_by(rollups.c.told)):
        counts[Decision(told)] += int(parts)
    return counts


def _inputs(connection: Connection, since: datetime) -> Counter[Place]:
    """Count the parts with an unusable image; roll-ups have them among the UNDECIDED.

    An UNDECIDED part is in one of two small indexes: nobody has judged it, or somebody has.
    """
    place = (inspections.c.station, inspections.c.category)
    counts = Counter[Place]()
    for index, condition in (("open_reviews", OPEN_REVIEW), ("inspections_judged", JUDGED)):
        query = (
            select(*place, func.sum(inspections.c.repeats))
            .with_hint(inspections, f"INDEXED BY {index}", "sqlite")
            .where(condition, IS_INPUT, inspections.c.origin != Origin.TEST.value)
            .where(inspections.c.received_at >= since)
            .group_by(*place)
        )
        for station, category, parts in connection.execute(query):
            counts[Place(True, station) if station else Place(False, category)] += int(parts)
    return counts


def _at(place: Place, table: Table) -> ColumnElement[bool]:
    """Return the condition of a place; roll-ups have "" where inspections have no station."""
    station = table.c.station
    if place.is_station:
        return station == place.name
    without = station == "" if table is rollups else station.is_(None)
    return without & (table.c.category == place.name)

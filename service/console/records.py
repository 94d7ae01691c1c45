"""Questions of the pages to the archive that `service.archive.searching` does not answer.

Each is a range of an index, so that a million inspections cost no more than a thousand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, Select, and_, or_, select, tuple_

from model.inspection import Decision
from service.archive import store
from service.archive.records import InspectionRecord
from service.archive.tables import dead_letters, events, inspections, rollups, sinks
from service.errors import (
    BodyTooLarge,
    ImageTooLarge,
    NoSuchModel,
    UndecodableImage,
    UnsupportedImage,
)
from service.inspection.submission import Origin
from service.problem_types import PROBLEM_TYPES
from service.versions.registry import Registry, Route

_BAD_INPUTS = (UndecodableImage, UnsupportedImage, ImageTooLarge, BodyTooLarge)
_BAD_INPUT_SLUGS = sorted(PROBLEM_TYPES[kind].slug for kind in _BAD_INPUTS)
_BAD_INPUT = "input-problem"  # how a station's reason begins


IS_INPUT = and_(
    inspections.c.told == Decision.UNDECIDED.value,
    or_(
        inspections.c.problem.in_(_BAD_INPUT_SLUGS),
        inspections.c.told_reason.startswith(_BAD_INPUT, autoescape=True),
    ),
)
"""The condition of the parts whose state is INPUT, as `state_of` says."""


class PartState(StrEnum):
    """How a part is shown: what the line was told, and whether its image was the reason."""

    OK = "OK"
    NG = "NG"
    REVIEW = "REVIEW"
    UNDECIDED = "UNDECIDED"
    INPUT = "INPUT"


class DeliveryState(StrEnum):
    """How far a part's newest event has got on its way to a sink."""

    DELIVERED = "delivered"
    WAITING = "waiting"
    REFUSED = "refused"  # the sink will never take it: a dead letter


@dataclass(frozen=True, slots=True)
class Delivery:
    """A sink, and whether it has a part."""

    sink: str
    state: DeliveryState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The parts before and after a part at the same place, both in the order of time."""

    earlier: Sequence[InspectionRecord]
    later: Sequence[InspectionRecord]


def state_of(record: InspectionRecord) -> PartState:
    """Return how a part is shown."""
    is_bad_input = record.problem in _BAD_INPUT_SLUGS or (record.told_reason or "").startswith(
        _BAD_INPUT
    )
    if record.told is Decision.UNDECIDED and is_bad_input:
        return PartState.INPUT
    return PartState(record.told.value)


def route_of(registry: Registry, record: InspectionRecord) -> Route | None:
    """Return the category of the version that inspected a part; None if it is gone."""
    try:
        version = registry.version(record.model_name or "", record.model_version or "")
    except NoSuchModel:
        return None
    return (version.routes or {}).get(record.category)


def review_score_of(registry: Registry, record: InspectionRecord) -> float | None:
    """Return where a part's review band began, from 0 to 1; None without one."""
    route = route_of(registry, record)
    if route is None or record.review_threshold is None:
        return None
    return route.calibration.score(record.review_threshold)


def has_parts(connection: Connection) -> bool:
    """Return whether the archive has a part that was no test."""
    return connection.execute(select(rollups.c.parts).limit(1)).first() is not None


def neighbours(connection: Connection, part: InspectionRecord, count: int) -> Neighbours:
    """Return up to `count` parts before and after a part: of its station, else of its category."""
    columns = (inspections.c.received_at, inspections.c.inspection_id)
    here = tuple_(part.received_at, part.inspection_id, types=[column.type for column in columns])
    query = select(inspections).where(
        inspections.c.category == part.category
        if part.station is None
        else inspections.c.station == part.station
    )
    if part.origin is not Origin.TEST:
        query = query.where(inspections.c.origin != Origin.TEST.value)
    before = query.where(tuple_(*columns) < here).order_by(*(column.desc() for column in columns))
    after = query.where(tuple_(*columns) > here).order_by(*columns)
    return Neighbours(
        _records(connection, before.limit(count))[::-1], _records(connection, after.limit(count))
    )


def deliveries(connection: Connection, inspection_id: UUID) -> list[Delivery]:
    """Return each sink of this node's journal, and whether it has the part's newest event."""
    newest = connection.execute(
        select(events.c.number, events.c.origin)
        .where(events.c.inspection_id == inspection_id)
        .order_by(events.c.number.desc())
        .limit(1)
    ).first()
    if newest is None or newest.origin == Origin.TEST.value:
        return []
    refused = {
        row.sink: row.reason
        for row in connection.execute(
            select(dead_letters.c.sink, dead_letters.c.reason).where(
                dead_letters.c.number == newest.number
            )
        )
    }
    return [
        _delivery(row.sink, row.position >= newest.number, refused)
        for row in connection.execute(select(sinks).order_by(sinks.c.sink))
    ]


def _delivery(sink: str, has_passed: bool, refused: dict[str, str]) -> Delivery:
    if sink in refused:
        return Delivery(sink, DeliveryState.REFUSED, refused[sink])
    return Delivery(sink, DeliveryState.DELIVERED if has_passed else DeliveryState.WAITING)


def _records(connection: Connection, query: Select[tuple[object, ...]]) -> list[InspectionRecord]:
    rows = connection.execute(query).mappings()
    return store.records_of(connection, [dict(row) for row in rows])

"""Chooses inspections and media that are to be deleted, oldest first, a slice at a time.

old = oldest_inspections(connection, undelivered_from, before=None, after=None)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, and_, func, or_, select, tuple_

from service.archive.retention.deletion import is_protected
from service.archive.tables import KEPT, inspections, views

_LOOKED_AT = 500
_TIME_AND_ID = (inspections.c.received_at, inspections.c.inspection_id)


class Place(NamedTuple):
    """The place of an inspection in the order of all."""

    received_at: datetime
    inspection_id: UUID


@dataclass(frozen=True, slots=True)
class OldInspections:
    """Inspections that may be deleted, and the place where the next slice begins; None: no more."""

    ids: Sequence[UUID]
    end: Place | None


def oldest_inspections(
    connection: Connection,
    undelivered_from: int,
    *,
    before: datetime | None,
    after: Place | None,
) -> OldInspections:
    """Look at the next inspections received before a time; return those that may be deleted."""
    protected = is_protected(undelivered_from).label("protected")
    query = select(*_TIME_AND_ID, inspections.c.number, protected)
    query = query.order_by(*_TIME_AND_ID).limit(_LOOKED_AT)
    if before is not None:
        query = query.where(inspections.c.received_at < before)
    if after is not None:
        types = [column.type for column in _TIME_AND_ID]
        query = query.where(tuple_(*_TIME_AND_ID) > tuple_(*after, types=types))
    rows = connection.execute(query).all()
    ids = [row.inspection_id for row in rows if not row.protected]
    # Beyond the first that was not delivered, at most a clock set back left others that were.
    is_end = len(rows) < _LOOKED_AT or rows[-1].number >= undelivered_from
    return OldInspections(ids, None if is_end else Place(*rows[-1][:2]))


def due_media(
    connection: Connection,
    undelivered_from: int,
    *,
    now: datetime,
    days: Mapping[str, float],
    limit: int,
) -> Sequence[UUID]:
    """Return inspections whose files are older than the days of their decision."""
    is_due = or_(
        *(
            and_(
                inspections.c.told == decision,
                inspections.c.received_at < now - timedelta(days=number),
            )
            for decision, number in days.items()
        )
    )
    query = _with_files(undelivered_from).where(is_due).limit(limit)
    return [row.inspection_id for row in connection.execute(query)]


def oldest_media(
    connection: Connection, undelivered_from: int, *, nbytes: int, limit: int
) -> Sequence[UUID]:
    """Return the oldest inspections with files, until their images have so many bytes."""
    query = _with_files(undelivered_from).order_by(*_TIME_AND_ID).limit(limit)
    ids: list[UUID] = []
    for row in connection.execute(query):
        if nbytes <= 0:
            break
        ids.append(row.inspection_id)
        nbytes -= row.nbytes
    return ids


def oldest_time(connection: Connection) -> datetime | None:
    """Return when the oldest inspection was received; None without inspections."""
    query = select(inspections.c.received_at).order_by(inspections.c.received_at).limit(1)
    return connection.execute(query).scalar()


def _with_files(undelivered_from: int) -> Select[UUID, int]:
    """Return the query of inspections with files that may be deleted.

    It begins at the files, few beside the rows of years, and so names their index.
    """
    nbytes = func.sum(func.coalesce(views.c.image_bytes, 0)).label("nbytes")
    return (
        select(views.c.inspection_id, nbytes)
        .with_hint(views, "INDEXED BY views_kept", "sqlite")
        .select_from(views)
        .join(inspections, inspections.c.inspection_id == views.c.inspection_id)
        .where(KEPT, ~is_protected(undelivered_from))
        .group_by(views.c.inspection_id)
    )

"""The parts that wait for a person's verdict: those not told OK, then a sample of the others.

    queue = Queue(category="bolt", share=settings.console.review_share)
    waiting = find_waiting(connection, queue, limit=2)

Tests never wait. Each question is a few ranges of indexes, whatever the size of the archive.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, TextClause, func, select

from model.inspection import Decision
from service.archive.searching.sampling import is_sampled
from service.archive.searching.search import unindexed
from service.archive.tables import TO_JUDGE, inspections
from service.inspection.submission import Origin

MAX_COUNTED = 500
MAX_SAMPLED = 100

_SLICE_HOURS = 12
_SLICES = 14  # a week
_WALKED_PER_SLICE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Which parts wait, and in which order; `share` of the OK parts is in the sample."""

    category: str | None = None
    station: str | None = None
    is_oldest_first: bool = False
    share: float = 0.0


def has_waiting(connection: Connection) -> bool:
    """Return whether a part waits that was not told OK."""
    return bool(find_waiting(connection, Queue(), 1))


def count_waiting(connection: Connection, queue: Queue) -> int:
    """Return how many parts wait that were not told OK; `MAX_COUNTED` + 1 of more."""
    some = select(inspections.c.inspection_id).where(*_conditions(queue)).limit(MAX_COUNTED + 1)
    return connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def find_waiting(connection: Connection, queue: Queue, limit: int) -> list[UUID]:
    """Return the ids of the first parts that wait and were not told OK."""
    ids = select(inspections.c.inspection_id).where(*_conditions(queue)).limit(limit)
    return list(connection.execute(_in_order(ids, queue)).scalars())


def find_sampled(connection: Connection, queue: Queue, now: datetime) -> list[UUID]:
    """Return the ids of up to `MAX_SAMPLED` parts told OK of the sample that nobody has judged.

    They are of the last week. Of each half day, only the newest 500 parts are walked through, so
    that the sample of a fast line is spread over the week too.
    """
    if not queue.share:
        return []
    waiting, sampled = list[UUID](), list[UUID]()
    for since, until in _slices(now, queue.is_oldest_first):
        sampled += _walk(connection, queue, since, until)
        if len(sampled) >= MAX_SAMPLED:
            waiting += _unjudged(connection, queue, sampled)
            sampled = []
        if len(waiting) >= MAX_SAMPLED:
            return waiting[:MAX_SAMPLED]
    return (waiting + _unjudged(connection, queue, sampled))[:MAX_SAMPLED]


def _conditions(queue: Queue) -> list[ColumnElement[bool] | TextClause]:
    columns, conditions = inspections.c, list[ColumnElement[bool] | TextClause]([TO_JUDGE])
    if queue.category is not None:
        conditions.append(unindexed(columns.category) == queue.category)
    if queue.station is not None:
        conditions.append(unindexed(columns.station) == queue.station)
    return conditions


def _in_order(query: Select[Any], queue: Queue) -> Select[Any]:
    columns = (inspections.c.received_at, inspections.c.inspection_id)
    if queue.is_oldest_first:
        return query.order_by(*columns)
    return query.order_by(*(column.desc() for column in columns))


def _slices(now: datetime, is_oldest_first: bool) -> Iterator[tuple[datetime, datetime]]:
    """Yield ranges of time that are the same ones for hours."""
    hour = now.hour // _SLICE_HOURS * _SLICE_HOURS
    start = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    length = timedelta(hours=_SLICE_HOURS)
    starts = [start - number * length for number in range(_SLICES)]
    for since in reversed(starts) if is_oldest_first else starts:
        yield since, since + length


def _walk(connection: Connection, queue: Queue, since: datetime, until: datetime) -> Sequence[UUID]:
    """Return those of a time's newest ids that are in the sample, in the queue's order.

    They are read from an index alone.
    """
    columns = inspections.c
    query = select(columns.inspection_id).where(
        columns.received_at >= since, columns.received_at < until
    )
    if queue.category is not None:
        query = query.where(columns.category == queue.category)
    elif queue.station is not None:
        query = query.where(columns.station == queue.station)
    newest = query.order_by(columns.received_at.desc(), columns.inspection_id.desc())
    ids = connection.execute(newest.limit(_WALKED_PER_SLICE)).scalars()
    sampled = [identifier for identifier in ids if is_sampled(identifier, queue.share)]
    return sampled[::-1] if queue.is_oldest_first else sampled


def _unjudged(connection: Connection, queue: Queue, ids: Sequence[UUID]) -> list[UUID]:
    """Return those of the ids whose parts wait."""
    if not ids:
        return []
    columns = inspections.c
    query = select(columns.inspection_id).where(
        columns.inspection_id.in_(ids),
        columns.told == Decision.OK.value,
        columns.verdict.is_(None),
        columns.origin != Origin.TEST.value,
    )
    if queue.station is not None:
        query = query.where(unindexed(columns.station) == queue.station)
    waiting = set(connection.execute(query).scalars())
    return [identifier for identifier in ids if identifier in waiting]

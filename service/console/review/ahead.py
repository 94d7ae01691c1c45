"""The next parts of the queue, and how many wait.

ahead = await archive.read(partial(look_ahead, queue, claims.of_others(holder)))
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection

from service.archive import store
from service.archive.records import InspectionRecord
from service.archive.searching.awaiting import (
    MAX_COUNTED,
    MAX_SAMPLED,
    Queue,
    count_waiting,
    find_sampled,
    find_waiting,
)

_PARTS = 2


@dataclass(frozen=True, slots=True)
class Ahead:
    """The next parts of the queue, and how many wait; `is_sample`: they are of the OK sample."""

    parts: Sequence[InspectionRecord]
    count: int
    is_sample: bool

    @property
    def is_more(self) -> bool:
        """Whether more wait than were counted."""
        return self.count > MAX_COUNTED or (self.is_sample and self.count >= MAX_SAMPLED)

    @property
    def counted(self) -> int:
        """The count, at most as far as was counted."""
        return min(self.count, MAX_COUNTED)


def look_ahead(queue: Queue, others: Collection[UUID], connection: Connection) -> Ahead:
    """Return the next parts, those that others look at last."""
    count = count_waiting(connection, queue)
    waiting = find_waiting(connection, queue, _PARTS + len(others)) if count else []
    free = [one for one in waiting if one not in others][:_PARTS]
    if free:
        return Ahead(store.find_all(connection, free), count, is_sample=False)
    sampled = find_sampled(connection, queue, datetime.now(UTC))
    unclaimed = [one for one in sampled if one not in others]
    if waiting and not unclaimed:
        return Ahead(store.find_all(connection, waiting[:_PARTS]), count, is_sample=False)
    chosen = (unclaimed or sampled)[:_PARTS]
    return Ahead(store.find_all(connection, chosen), len(sampled), is_sample=True)

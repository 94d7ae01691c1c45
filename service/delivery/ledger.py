"""One sink's lasting state in the journal: its position and its dead letters.

ledger.save(position, [DeadLetter(17, event_id, "400 Bad Request: ...")])
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from service.archive.events import last_number
from service.archive.journal import Journal
from service.archive.positions import oldest_number, positions, save_position
from service.archive.tables import dead_letters
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.ledger")

T = TypeVar("T")

_MAX_REASON = 1000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that the receiver can never take."""

    number: int
    event_id: UUID
    reason: str
    at: datetime


class Ledger:
    """The rows of one sink; its methods block, and belong to the sink's thread.

    Writes wait while inspections wait for the disk. Raises `JournalUnavailable`.
    """

    def __init__(
        self, journal: Journal, sink: str, max_dead_letters: int, metrics: Metrics
    ) -> None:
        self._journal = journal
        self._sink = sink
        self._max_dead_letters = max_dead_letters
        self._metrics = metrics

    def begin(self, *, at_oldest: bool) -> int:
        """Return the sink's position; a new sink gets one, at the newest or the oldest event."""

        def register(connection: Connection) -> int:
            known = positions(connection).get(self._sink)
            if known is not None:
                self._warn_of_gap(connection, known)
                return known
            position = last_number(connection)
            if at_oldest and (oldest := oldest_number(connection)) is not None:
                position = oldest - 1
            save_position(connection, self._sink, position)
            logger.info("the sink %s is new, and starts after event %d", self._sink, position)
            return position

        return self._write(register)

    def save(self, position: int, dead: Sequence[DeadLetter] = ()) -> None:
        """Write the position and new dead letters in one transaction."""

        def change(connection: Connection) -> int:
            save_position(connection, self._sink, position)
            return self._add(connection, dead)

        dropped = self._write(change)
        if dropped:
            self._metrics.dead_letters_dropped.labels(self._sink).inc(dropped)
            logger.error(
                "the sink %s has more than %d dead letters: the oldest %d are forgotten; their "
                "inspections stay in the archive", self._sink, self._max_dead_letters, dropped,
            )  # fmt: skip

    def forget(self, numbers: Sequence[int]) -> None:
        """Delete dead letters."""
        condition = (dead_letters.c.sink == self._sink) & dead_letters.c.number.in_(numbers)
        self._write(lambda connection: connection.execute(delete(dead_letters).where(condition)))

    def count_dead(self) -> int:
        """Return how many dead letters there are."""
        query = select(func.count()).where(dead_letters.c.sink == self._sink)
        with self._journal.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def dead(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters, the newest first."""
        query = select(dead_letters).where(dead_letters.c.sink == self._sink)
        query = query.order_by(dead_letters.c.number.desc()).limit(limit)
        with self._journal.reading() as connection:
            return [
                DeadLetter(row.number, row.event_id, row.reason, row.at)
                for row in connection.execute(query)
            ]

    def _add(self, connection: Connection, dead: Sequence[DeadLetter]) -> int:
        """Insert dead letters, and delete those beyond the bound; return how many were deleted."""
        if not dead:
            return 0
        rows = [
            {
                "sink": self._sink,
                "number": letter.number,
                "event_id": letter.event_id,
                "reason": letter.reason[:_MAX_REASON],
                "at": letter.at,
            }
            for letter in dead
        ]
        statement = insert(dead_letters)
        keys = [dead_letters.c.sink, dead_letters.c.number]
        newer = {"reason": statement.excluded.reason, "at": statement.excluded.at}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=newer), rows)
        mine = dead_letters.c.sink == self._sink
        beyond = select(dead_letters.c.number).where(mine)
        beyond = beyond.order_by(dead_letters.c.number.desc()).offset(self._max_dead_letters)
        deleted = connection.execute(
            delete(dead_letters).where(mine, dead_letters.c.number.in_(beyond))
        )
        return int(deleted.rowcount)

    def _write(self, change: Callable[[Connection], T]) -> T:
        return self._journal.write_now(change, patient=True)

    def _warn_of_gap(self, connection: Connection, position: int) -> None:
        oldest = oldest_number(connection)
        if oldest is not None and oldest > position + 1:
            logger.warning(
                "the sink %s was away for long: events %d to %d are no longer in the journal",
                self._sink, position + 1, oldest - 1,
            )  # fmt: skip


def dead_letter(number: int, event_id: UUID, reason: str) -> DeadLetter:
    """Return a new dead letter."""
    return DeadLetter(number, event_id, reason, datetime.now(UTC))

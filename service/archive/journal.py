"""The journal: a node's inspections in SQLite, written by one thread.

    journal = SqliteJournal.open(state_dir / "archive", node="line-1")
    number = await journal.record(inspection, deadline)     # durable when it returns

One connection of one thread writes and checkpoints; every reader has a read-only connection.
Waiting writes share one commit. `sqlite_journal` implements these Protocols.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from service.archive.records import InspectionRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The numbers that the journal gave to an inspection.

    `station_number` counts the inspections of a station without a gap; those of origin test, which
    are never delivered, are not counted and have 0.
    """

    number: int
    station_number: int


class AlreadyRecorded(Exception):
    """The journal has an inspection with this id, or it has changed; `record` is that inspection.

    A record whose `found` is None and whose `source` is fail-safe is a refusal: it may be replaced
    by `update`. Any other is the answer to repeat.
    """

    def __init__(self, record: InspectionRecord) -> None:
        super().__init__(f"the inspection {record.inspection_id} is already recorded")
        self.record = record


class JournalWriter(Protocol):
    """What inspecting processes need of a journal: today a thread, later another process."""

    async def record(self, inspection: InspectionRecord, deadline: float) -> Recorded:
        """Write an inspection; it is durable when this returns.

        `deadline` is by the event loop's clock. Raises `TimeoutError` if the write had not begun by
        then, and so was withdrawn; a write that has begun is waited for. Cancelling withdraws it
        too, unless it has begun: then `CancelledError` comes when the write has ended. Raises
        `AlreadyRecorded` if the id is in the journal; that inspection stays as it is. Raises
        `JournalUnavailable` if it cannot be written; then it is not in the journal, unless the
        disk kept what it said it could not, which a retry with the same id then finds.
        """
        ...

    async def update(
        self, before: InspectionRecord, after: InspectionRecord, deadline: float
    ) -> Recorded:
        """Replace an inspection, as `record` writes one; an event of kind `update` tells the sinks.

        It replaces a refusal by the decision of a retry, or adds a late image. `before` is as
        read from the journal. `after` gets its numbers, verdict and hold, and keeps its node.
        Raises `AlreadyRecorded` with the present state if that is no longer `before`, and
        `KeyError` if the inspection is not in the journal.
        """
        ...

    def record_soon(self, inspection: InspectionRecord) -> None:
        """Queue a refusal without waiting; it is dropped, and counted, if the disk refuses.

        A flood is counted in one row: of the refusals with the same category, station, problem and
        caller in one second, the first 20 are rows of their own, and all others are one row, the
        first of them, with `repeats`. A refusal whose id is already in the journal is left out.
        """
        ...


class Journal(JournalWriter, Protocol):
    """A node's journal in its own process, with readers and other changes."""

    @property
    def failure(self) -> str | None:
        """Why the journal cannot be written now; None while it can be."""
        ...

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in the writing thread, in a transaction; durable when this returns.

        An error of the change is raised here, and the change is undone. Raises
        `JournalUnavailable` if the journal cannot be written. Cancelling is as for `record`.
        """
        ...

    def write_now(self, change: Callable[[Connection], T], *, patient: bool = False) -> T:
        """Like `write`, from another thread than the event loop's; blocks.

        A `patient` change runs only while no inspection waits to be written.
        """
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a read-only connection that sees one snapshot; blocks: use it in a thread.

        The journal's log cannot shrink meanwhile: read much in several snapshots. Raises
        `JournalUnavailable` if the journal cannot be read.
        """
        ...

    def on_commit(self, call: Callable[[int], None]) -> None:
        """Register a call with the newest event's number, after commits; it must not block.

        The writing thread calls it, only when there are new events.
        """
        ...

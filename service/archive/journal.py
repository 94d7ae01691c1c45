"""The journal: a node's inspections in SQLite, written by one thread.

    journal = Journal.open(state_dir / "archive", node="line-1")
    number = await journal.record(inspection, deadline)     # durable when it returns

One connection of one thread writes and checkpoints; every reader has a read-only connection.
Waiting writes share one commit.
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
    """The numbers that the journal gave to an inspection."""

    number: int
    station_number: int


class JournalWriter(Protocol):
    """What inspecting processes need of a journal: today a thread, later another process."""

    async def record(self, inspection: InspectionRecord, deadline: float) -> Recorded:
        """Write an inspection; it is durable when this returns.

        `deadline` is by the event loop's clock. Raises `TimeoutError` if the write had not begun by
        then, and so was withdrawn; a write that has begun is waited for. Cancelling withdraws it
        too, unless it has begun. Raises `JournalUnavailable` if it cannot be written; then it is
        not in the journal.
        """
        ...

    def record_soon(self, inspection: InspectionRecord) -> None:
        """Queue an inspection without waiting; it is dropped, and counted, if the disk refuses."""
        ...


class Journal(JournalWriter, Protocol):
    """A node's journal in its own process, with readers and other changes."""

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in the writing thread, in a transaction; durable when this returns."""
        ...

    def write_now(self, change: Callable[[Connection], T], *, patient: bool = False) -> T:
        """Like `write`, from another thread than the event loop's; blocks.

        A `patient` change runs only while no inspection waits to be written.
        """
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a read-only connection that sees one snapshot; blocks: use it in a thread."""
        ...

    def on_commit(self, call: Callable[[int], None]) -> None:
        """Register a call with the newest event's number, after commits; it must not block."""
        ...

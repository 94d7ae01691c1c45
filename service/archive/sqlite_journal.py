"""The journal of a node: its inspections in SQLite, written by one thread.

journal = SqliteJournal.open(state_dir / "archive", node="line-1")
try:
    recorded = await journal.record(inspection, deadline=loop.time() + 2)
finally:
    journal.close()
"""

import asyncio
import concurrent.futures
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from service.archive.journal import Recorded
from service.archive.records import InspectionRecord
from service.archive.sqlite import recording
from service.archive.sqlite.connections import Readers
from service.archive.sqlite.lock import FolderLock
from service.archive.sqlite.opening import log_sqlite, wal_of
from service.archive.sqlite.thread import WritingThread
from service.archive.sqlite.waiting import WaitingWrites, Write
from service.telemetry.metrics.archive import ArchiveMetrics

T = TypeVar("T")

JOURNAL_FILE = "journal.db"
_MAX_PENDING = 10_000


class SqliteJournal:
    """Implements `service.archive.journal.Journal`; one for each folder, in one process."""

    def __init__(
        self,
        readers: Readers,
        waiting: WaitingWrites,
        thread: WritingThread,
        metrics: ArchiveMetrics,
        lock: FolderLock,
    ) -> None:
        self._readers = readers
        self._waiting = waiting
        self._thread = thread
        self._metrics = metrics
        self._lock = lock

    @classmethod
    def open(
        cls,
        folder: Path,
        node: str,
        *,
        metrics: ArchiveMetrics | None = None,
        max_pending: int = _MAX_PENDING,
    ) -> Self:
        """Lock the folder, open or create its journal, and start the writing thread.

        If the disk refuses now, the journal is returned with a `failure`, and the thread tries
        again. Raises `JournalUnusable` if a retry cannot help: another service has the folder, the
        file is no journal, or a newer release wrote it.
        """
        metrics = metrics or ArchiveMetrics(CollectorRegistry())
        log_sqlite()
        path = folder / JOURNAL_FILE
        lock = FolderLock(folder)
        lock.hold()
        waiting = WaitingWrites(max_pending)
        metrics.journal_pending.set_function(lambda: len(waiting))
        metrics.journal_bytes.set_function(lambda: bytes_on_disk(path))
        thread = WritingThread(path, node, waiting, metrics, lock)
        try:
            lock.check_whole()
            thread.start()
        except BaseException:
            lock.release()
            raise
        return cls(Readers(path), waiting, thread, metrics, lock)

    def close(self) -> None:
        """Write what waits, then close the journal and unlock the folder; blocks."""
        self._readers.close()
        self._thread.stop()
        self._lock.release()

    @property
    def failure(self) -> str | None:
        """Why the journal cannot be written now; None while it can be."""
        return self._thread.failure

    async def record(self, inspection: InspectionRecord, deadline: float) -> Recorded:
        """Write an inspection; see `JournalWriter.record`."""
        recorded: Recorded = await self._settled(Write(inspection), deadline)
        return recorded

    async def update(
        self, before: InspectionRecord, after: InspectionRecord, deadline: float
    ) -> Recorded:
        """Replace an inspection; see `JournalWriter.update`."""
        change = partial(recording.update, before=before, after=after)
        recorded: Recorded = await self._settled(Write(change), deadline)
        return recorded

    def record_soon(self, inspection: InspectionRecord) -> None:
        """Queue a refusal without waiting; see `JournalWriter.record_soon`."""
        if not self._waiting.put_refusal(inspection):
            self._metrics.refusals_dropped.inc(inspection.repeats)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in the writing thread; see `Journal.write`."""
        value: T = await self._settled(Write(change), None)
        return value

    def write_now(self, change: Callable[[Connection], T], *, patient: bool = False) -> T:
        """Run a change from another thread than the event loop's; see `Journal.write_now`."""
        assert not self._thread.is_current, "a change cannot wait for another change"
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._waiting.put(Write(change, future), patient=patient)
        return future.result()

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a read-only connection; see `Journal.reading`."""
        return self._readers.reading()

    def on_commit(self, call: Callable[[int], None]) -> None:
        """Register a call with the newest event's number; see `Journal.on_commit`."""
        self._thread.calls.append(call)

    async def _settled(self, write: Write, deadline: float | None) -> Any:  # noqa: ANN401
        """Put a write into the queue, and wait for its outcome."""
        loop = asyncio.get_running_loop()
        if deadline is not None and loop.time() >= deadline:
            raise TimeoutError("the deadline had passed before the write was queued")
        write.future = future = loop.create_future()
        self._waiting.put(write)
        timer = None if deadline is None else loop.call_at(deadline, self._expire, write)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not self._waiting.withdraw(write):
                await asyncio.wait([future])  # it has begun, and ends soon
                future.exception()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _expire(self, write: Write) -> None:
        if self._waiting.withdraw(write):
            write.future.set_exception(TimeoutError("the write had not begun by its deadline"))


def bytes_on_disk(path: Path) -> int:
    """Return the size of a journal with its write-ahead log; what is not there counts 0."""
    size = 0
    for file in (path, wal_of(path)):
        with suppress(OSError):
            size += file.stat().st_size
    return size

"""The writing thread: takes what waits, writes it in one transaction, tells who waited.

thread = WritingThread(folder / "journal.db", "line-1", waiting, metrics, lock)
thread.start()
...
thread.stop()
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.archive.journal import AlreadyRecorded
from service.archive.records import InspectionRecord
from service.archive.sqlite.failures import (
    JournalUnusable,
    disk_failure,
    is_connection_good,
    unwritable,
)
from service.archive.sqlite.group import write_group
from service.archive.sqlite.lock import FolderLock
from service.archive.sqlite.opening import OpenJournal
from service.archive.sqlite.settling import settle
from service.archive.sqlite.waiting import WaitingWrites, Write
from service.telemetry.metrics.archive import ArchiveMetrics

logger = logging.getLogger("service.journal")

_PROBE_S = 1.0
_STOP_S = 10.0
_COMMITS_BEFORE_CHECKPOINT = 100
_WRITES_BEFORE_CHECKPOINT = 2_000
_OUTCOMES = {type(None): "recorded", AlreadyRecorded: "repeated"}


class WritingThread:
    """One thread with the connection that writes.

    While the disk refuses, each group of writes fails; without any, the thread tries every second.
    """

    def __init__(
        self,
        path: Path,
        node: str,
        waiting: WaitingWrites,
        metrics: ArchiveMetrics,
        lock: FolderLock,
    ) -> None:
        self.failure: str | None = None
        self.calls: list[Callable[[int], None]] = []
        self._path = path
        self._node = node
        self._waiting = waiting
        self._metrics = metrics
        self._lock = lock
        self._journal: OpenJournal | None = None
        self._was_opened = False
        self._newest = 0
        self._next_probe = 0.0
        self._commits = 0
        self._writes = 0
        self._is_tried = threading.Event()
        self._refusal: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Start the thread; return when it has opened the journal, or the disk has refused.

        Raises what no retry repairs, such as a file that is no journal.
        """
        self._thread.start()
        self._is_tried.wait()
        if self._refusal:
            self._thread.join()
            raise self._refusal

    def stop(self) -> None:
        """Write what waits, and end the thread."""
        self._waiting.close()
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            logger.error("the journal's disk has not answered for %g s", _STOP_S)

    @property
    def is_current(self) -> bool:
        """Whether the caller is in this thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        try:
            journal = self._opened()
            journal.probe()
            self._newest = journal.newest_event()
        except JournalUnusable as error:
            self._refusal = error
            return
        except Exception as error:
            self._fail(error, disk_failure(error) or repr(error))
        finally:
            self._is_tried.set()
        goes_on = True
        while goes_on:
            group, goes_on = self._waiting.claim(_PROBE_S if self.failure else None)
            try:
                self._probe_if_due()
                if group:
                    self._write(group)
                self._checkpoint()
            except Exception:
                logger.exception("the journal's thread failed, and goes on")
        self._close()

    def _probe_if_due(self) -> None:
        """Try the disk once a second after a failure; it has passed when a probe succeeds."""
        if self.failure is None or time.monotonic() < self._next_probe:
            return
        try:
            self._opened().probe()
        except Exception as error:
            self._fail(error, disk_failure(error) or repr(error))
        else:
            logger.info("the journal can be written again")
            self.failure = None
            self._metrics.journal_failed.set(0)

    def _write(self, group: Sequence[Write]) -> None:
        """Write a group; settle it in any case."""
        started = time.perf_counter()
        try:
            newest = write_group(self._opened().connection, self._node, group)
        except Exception as error:
            self._take_back(group, error)
        else:
            settle(group)
            self._note(group, newest, time.perf_counter() - started)

    def _opened(self) -> OpenJournal:
        """Return the journal, opened again if the last failure closed it."""
        if self._journal is not None and self._journal.connection.in_transaction():
            self._close()  # its rollback has failed
        if self._journal is None:
            self._lock.hold()
            self._journal = OpenJournal.open(self._path, create=not self._was_opened)
        self._was_opened = True
        self._journal.check_files()
        return self._journal

    def _note(self, group: Sequence[Write], newest: int, seconds: float) -> None:
        """Count a commit, and announce its events."""
        self._metrics.journal_commit_seconds.observe(seconds)
        self._count(group)
        self._commits += 1
        self._writes += len(group)
        if newest != self._newest:
            self._newest = newest
            self._announce(newest)

    def _announce(self, newest: int) -> None:
        for call in self.calls:
            try:
                call(newest)
            except Exception:
                logger.exception("a call after a commit failed")

    def _take_back(self, group: Sequence[Write], error: Exception) -> None:
        """Settle a group that was undone; if one write is at fault, write the others."""
        failure = disk_failure(error)
        if failure is None and len(group) > 1:
            for write in group:
                write.value = write.error = None
                self._write([write])
            return
        if failure:
            self._fail(error, failure)
        for write in group:
            write.error = _error_of(write, error, failure)
        settle(group)
        self._count(group)

    def _fail(self, error: Exception, failure: str) -> None:
        if self.failure is None:
            logger.error(
                "the journal cannot be written: %s; this is tried again every %g s",
                failure,
                _PROBE_S,
            )
        self.failure = failure
        self._next_probe = time.monotonic() + _PROBE_S
        self._metrics.journal_failed.set(1)
        if not is_connection_good(error):
            self._close()

    def _count(self, group: Sequence[Write]) -> None:
        self._metrics.journal_group_size.observe(len(group))
        for write in group:
            if isinstance(write.content, InspectionRecord):
                outcome = _OUTCOMES.get(type(write.error), "failed")
                if write.future is None and outcome == "failed":
                    self._metrics.refusals_dropped.inc(write.content.repeats)
                else:
                    self._metrics.inspections_recorded.labels(write.content.origin, outcome).inc()

    def _checkpoint(self) -> None:
        """Move the log's pages into the file now and then, while no write waits for that."""
        if (
            self._commits < _COMMITS_BEFORE_CHECKPOINT and self._writes < _WRITES_BEFORE_CHECKPOINT
        ) or self._journal is None:
            return
        self._commits = self._writes = 0
        try:
            self._journal.checkpoint()
        except sqlite3.Error as error:  # what is in the log is durable
            logger.warning("the journal's log cannot be moved into its file: %s", error)

    def _close(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            try:
                journal.close()
            except (SQLAlchemyError, sqlite3.Error) as error:
                logger.warning("the journal cannot be closed: %s", error)


def _error_of(write: Write, error: Exception, failure: str | None) -> Exception:
    """Return what a write that was undone is told."""
    if failure:
        return unwritable(failure)
    if not isinstance(write.content, InspectionRecord):
        return error
    logger.error("an inspection cannot be recorded", exc_info=error)
    return unwritable(f"it refused this inspection ({error!r})")

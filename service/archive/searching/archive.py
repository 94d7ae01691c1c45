"""The archive that is searched and judged in: this node's journal, or the PostgreSQL of all nodes.

    archive = Archive(journal, node="line-1", url=settings.archive.url)
    page = await archive.read(lambda connection: search(connection, Filter(part_id="4711"), 50))
    found = await archive.judge(inspection_id, NewVerdict(Verdict.GOOD, "Ada (line-3)"))

All statements run in the archive's own threads, so that a slow search delays no inspection.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore
from typing import TypeVar, cast
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service.archive import events, store
from service.archive.journal import Journal
from service.archive.records import EventKind, HoldRecord, InspectionRecord, VerdictRecord
from service.archive.searching import judging
from service.archive.searching.central import CentralDatabase, too_broad
from service.archive.searching.judging import Given, NewHold, NewJudgement, Seen
from service.errors import ArchiveUnavailable, NoSuchInspection, OnOtherNode

T = TypeVar("T")

_THREADS = 4
_MAX_WAITING = 28
_LIMIT_S = 10.0
_STEPS_BETWEEN_CHECKS = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """An inspection with its verdicts and holds, the newest first."""

    inspection: InspectionRecord
    verdicts: Sequence[VerdictRecord]
    holds: Sequence[HoldRecord]


class Archive:
    """Searches and judges where the setting `url` says; without it, in the journal.

    A query may take `limit_s`. With a PostgreSQL, an inspection that was not delivered to it yet is
    found and judged in the journal.
    """

    def __init__(
        self, journal: Journal, node: str, url: str | None = None, limit_s: float = _LIMIT_S
    ) -> None:
        """Open no connection yet. Raises `ValueError` if the URL is not of a PostgreSQL."""
        self._journal = journal
        self._node = node
        self._central = CentralDatabase(url, limit_s) if url else None
        self._limit_s = limit_s
        self._threads = ThreadPoolExecutor(_THREADS, "archive")
        self._places = BoundedSemaphore(_THREADS + _MAX_WAITING)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a thread, on one snapshot.

        Raises `ArchiveUnavailable`, `JournalUnavailable`, or `SearchTooBroad` if it takes too long.
        """
        return await self._in_thread(partial(self._read, query))

    async def find(self, inspection_id: UUID, *, here_first: bool = False) -> Found:
        """Return an inspection. Raises `NoSuchInspection`, or as `read`.

        With `here_first`, the journal's row goes before the one in PostgreSQL.
        """
        return await self._in_thread(partial(self._find, inspection_id, here_first))

    async def judge(
        self, inspection_id: UUID, new: NewJudgement, seen: Seen | None = None
    ) -> Found:
        """Append a verdict or hold, and its event to the journal; durable when this returns.

        With `seen`, a verdict is appended only if that one still stands. Raises `NoSuchInspection`,
        `InvalidRequest` if there is no verdict to withdraw, `OnOtherNode` for a hold that would
        protect nothing, or as `read`: then nothing was appended.
        """
        return await self._in_thread(partial(self._judge, inspection_id, new, seen))

    async def close(self) -> None:
        """Wait for running queries, and close the connections."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self._central is not None:
            self._central.close()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise ArchiveUnavailable(
                f"{_THREADS + _MAX_WAITING} searches are already running or wait: try again"
            )
        future = self._threads.submit(call)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _read(self, query: Callable[[Connection], T]) -> T:
        if self._central is None:
            return self._read_journal(query)
        with self._central.reading() as connection:
            return query(connection)

    def _read_journal(self, query: Callable[[Connection], T]) -> T:
        with self._journal.reading() as connection, _interrupted_after(connection, self._limit_s):
            return query(connection)

    def _find(self, inspection_id: UUID, here_first: bool) -> Found:
        query = partial(_found, inspection_id)
        places = [self._read] if self._central is None else [self._read, self._read_journal]
        for read in reversed(places) if here_first else places:
            if (found := read(query)) is not None:
                return found
        return _require(inspection_id, None)

    def _judge(self, inspection_id: UUID, new: NewJudgement, seen: Seen | None) -> Found:
        found = None
        if self._central is not None:
            found = self._central.change(partial(self._judge_centrally, inspection_id, new, seen))
        if found is None:
            found = self._journal.write_now(partial(_judge_in_journal, inspection_id, new, seen))
        return _require(inspection_id, found)

    def _judge_centrally(
        self, inspection_id: UUID, new: NewJudgement, seen: Seen | None, connection: Connection
    ) -> Found | None:
        """Judge in PostgreSQL, and in the journal too before PostgreSQL commits.

        If that commit fails, the journal's event brings the judgement to PostgreSQL later.
        """
        given = judging.give(connection, inspection_id, new, seen)
        if given is None:
            return None
        if isinstance(new, NewHold) and given.inspection.node != self._node:
            node = given.inspection.node
            raise OnOtherNode(
                f"the inspection's row and files are kept by the node {node!r}, and only a hold "
                "there keeps its retention from deleting them: ask that service",
                node,
            )
        if given.is_new:
            self._journal.write_now(partial(_note, given))
        return _found(inspection_id, connection)


def _judge_in_journal(
    inspection_id: UUID, new: NewJudgement, seen: Seen | None, connection: Connection
) -> Found | None:
    given = judging.give(connection, inspection_id, new, seen)
    if given is None:
        return None
    if given.is_new:
        _append_event(given, connection)
    return _found(inspection_id, connection)


def _note(given: Given, connection: Connection) -> None:
    """Append to the journal what was given in PostgreSQL."""
    judging.add(connection, given.judgement)
    _append_event(given, connection)


def _append_event(given: Given, connection: Connection) -> None:
    judgement = given.judgement
    kind = EventKind.VERDICT if isinstance(judgement, VerdictRecord) else EventKind.HOLD
    events.append(
        connection,
        kind,
        given.inspection,
        event_id=judgement.event_id,
        payload=judging.payload_of(judgement),
    )


def _found(inspection_id: UUID, connection: Connection) -> Found | None:
    inspection = store.find(connection, inspection_id)
    if inspection is None:
        return None
    return Found(
        inspection,
        judging.verdicts_of(connection, inspection_id),
        judging.holds_of(connection, inspection_id),
    )


def _require(inspection_id: UUID, found: Found | None) -> Found:
    if found is None:
        raise NoSuchInspection(
            f"no inspection {inspection_id}: it was never recorded, or the retention deleted it"
        )
    return found


@contextmanager
def _interrupted_after(connection: Connection, limit_s: float) -> Iterator[None]:
    """End the statements of a SQLite connection after a time. Raises `SearchTooBroad` then."""
    raw = cast(sqlite3.Connection, connection.connection.dbapi_connection)
    until = time.monotonic() + limit_s
    raw.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_CHECKS)
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise too_broad(limit_s) from error
        raise
    finally:
        raw.set_progress_handler(None, 0)

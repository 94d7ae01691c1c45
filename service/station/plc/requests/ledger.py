"""Remembers the latest triggers and their answers, also when the station restarts.

    ledger = await Ledger.open(folder, "mqtt", repeat_s=600, max_answers=1_000)
    entry = await ledger.add(request, reply_to=None)   # before the trigger
    await ledger.answer(entry, answer)                 # before the result is acknowledged
    ledger.find(request.key)                           # a repeat gets the same answer

SQLite with one connection in one thread. Answers are on disk when `answer` returns; the rest
survives the end of the process, but perhaps not that of the power. Each kind of door has a file of
its own: a station whose door is changed answers nothing from what another door has left.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.station.plc.requests.messages import PartAnswer, TriggerRequest

logger = logging.getLogger("service.answers")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request TEXT NOT NULL,
    reply_to TEXT,
    asked_at REAL NOT NULL,
    answer TEXT,
    is_delivered INTEGER NOT NULL DEFAULT 0
) STRICT
"""
_Value = TypeVar("_Value")
ReplyTo = dict[str, str]
"""Where a door sends the answer; its own words."""


class LedgerUnusable(Exception):
    """The folder or its file cannot be used."""


@dataclass(eq=False, slots=True)
class Entry:
    """A trigger; without `answer` it is in work, or was when an earlier run ended."""

    number: int
    request: TriggerRequest
    reply_to: ReplyTo | None
    asked_at: float
    answer: PartAnswer | None = None
    is_delivered: bool = False
    is_not_taken: bool = False
    """Whether an earlier run ended before it took the part."""


class Ledger:
    """Entries in the order of their triggers; `open` makes one."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, *,
        repeat_s: float, max_answers: int,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._thread = thread
        self._repeat_s = repeat_s
        self._max_answers = max_answers
        self._entries = {entry.number: entry for entry in _read(connection)}
        self._by_key = {entry.request.key: entry for entry in self._entries.values()}
        self._first_number = self._next_number = _next_number(connection)

    @classmethod
    async def open(cls, folder: Path, door: str, *, repeat_s: float, max_answers: int) -> "Ledger":
        """Open a door's ledger in a folder, or make it. Raises `LedgerUnusable`."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="answers")

        def opened() -> Ledger:
            connection = _connect(folder, door)
            try:
                return cls(connection, thread, repeat_s=repeat_s, max_answers=max_answers)
            except BaseException:
                connection.close()
                raise

        try:
            return await asyncio.get_running_loop().run_in_executor(thread, opened)
        except (OSError, sqlite3.Error, ValueError) as error:
            thread.shutdown(wait=False)
            raise LedgerUnusable(
                f"the answers in {folder} cannot be opened: {error}; if another station uses "
                "them, give each station its own folder"
            ) from error

    @property
    def unanswered(self) -> list[Entry]:
        """Entries of an earlier run that have no answer yet."""
        entries = self._entries.values()
        return [e for e in entries if e.answer is None and e.number < self._first_number]

    @property
    def undelivered(self) -> list[Entry]:
        """Entries whose answer was not delivered."""
        return [e for e in self._entries.values() if e.answer is not None and not e.is_delivered]

    def find(self, key: tuple[int, str]) -> Entry | None:
        """Return the entry that a trigger of this number and part id repeats."""
        entry = self._by_key.get(key)
        if entry is None or entry.is_not_taken:
            return None
        if entry.answer is None:
            return entry
        is_recent = abs(time.time() - entry.asked_at) <= self._repeat_s
        return entry if is_recent else None

    def find_any(self, key: tuple[int, str]) -> Entry | None:
        """Return the latest entry of a part, however old it is."""
        return self._by_key.get(key)

    async def add(self, request: TriggerRequest, reply_to: ReplyTo | None) -> Entry:
        """Add a trigger; it can be found at once. Raises `sqlite3.Error`, and adds nothing then."""
        entry = Entry(self._next_number, request, reply_to, time.time())
        self._next_number += 1
        self._entries[entry.number] = self._by_key[request.key] = entry
        row = (
            entry.number, request.model_dump_json(), reply_to and json.dumps(reply_to),
            entry.asked_at,
        )  # fmt: skip
        try:
            await self._write(
                "INSERT INTO requests (id, request, reply_to, asked_at) VALUES (?, ?, ?, ?)", row
            )
        except BaseException:
            self._forget(entry)
            raise
        return entry

    async def remove(self, entry: Entry) -> None:
        """Remove a trigger that was not taken. Raises `sqlite3.Error`."""
        self._forget(entry)
        await self._write("DELETE FROM requests WHERE id = ?", (entry.number,))

    async def answer(self, entry: Entry, answer: PartAnswer) -> None:
        """Write an answer durably, and forget the oldest ones. Raises `sqlite3.Error`."""
        entry.answer = answer
        await self._write(
            "UPDATE requests SET answer = ? WHERE id = ?",
            (answer.model_dump_json(), entry.number),
            durably=True,
        )
        await self._prune()

    async def delivered(self, entry: Entry) -> None:
        """Note that an answer needs no more delivery. Raises `sqlite3.Error`."""
        entry.is_delivered = True
        await self._write("UPDATE requests SET is_delivered = 1 WHERE id = ?", (entry.number,))

    async def close(self) -> None:
        """Finish all writes, and let another station open the folder."""
        await self._in_thread(self._connection.close)
        self._thread.shutdown(wait=False)

    async def _prune(self) -> None:
        """Forget the oldest answers; one that still waits for its delivery is said."""
        answered = [entry for entry in self._entries.values() if entry.answer is not None]
        for entry in answered[: max(0, len(answered) - self._max_answers)]:
            if not entry.is_delivered:
                logger.error(
                    "%d answers wait for their delivery: the one of part %s is dropped; the "
                    "archive has the part", self._max_answers, entry.request.part_id,
                )  # fmt: skip
            await self.remove(entry)

    def _forget(self, entry: Entry) -> None:
        self._entries.pop(entry.number, None)
        if self._by_key.get(entry.request.key) is entry:
            del self._by_key[entry.request.key]

    async def _write(
        self, statement: str, values: tuple[object, ...], *, durably: bool = False
    ) -> None:
        def write() -> None:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")
            with self._connection:
                self._connection.execute(statement, values)

        await self._in_thread(write)

    async def _in_thread(self, work: Callable[[], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _connect(folder: Path, door: str) -> sqlite3.Connection:
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        folder / f"answers-{door}.sqlite", timeout=0, check_same_thread=False
    )
    try:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL"):
            connection.execute(f"PRAGMA {pragma}")
        with connection:
            connection.execute(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _read(connection: sqlite3.Connection) -> list[Entry]:
    columns = "id, request, reply_to, asked_at, answer, is_delivered"
    return [
        Entry(
            number,
            TriggerRequest.model_construct(**json.loads(request)),  # a PLC may have any part id
            reply_to and json.loads(reply_to),
            asked_at,
            answer and PartAnswer.model_validate_json(answer),
            bool(is_delivered),
        )
        for number, request, reply_to, asked_at, answer, is_delivered in connection.execute(
            f"SELECT {columns} FROM requests ORDER BY id"
        )
    ]


def _next_number(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence").fetchone()
    return 1 + (row[0] if row else 0)

"""A folder of triggers: a program writes a small file, and the station writes the result.

The folder may be on a network drive: it is looked into again and again. See `trigger_files`.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from service.station.machine.images import StationImage
from service.station.machine.states import Command
from service.station.plc.door import DoorClosed, Heard
from service.station.plc.requests.desk import NOT_TAKEN, Desk
from service.station.plc.requests.ledger import Entry
from service.station.plc.requests.messages import (
    CommandRequest,
    PartAnswer,
    RequestRefused,
    TriggerRequest,
    refusal_of,
    state_at_refusal,
    state_of,
)
from service.station.plc.requests.trigger_files import REFUSED, RESULTS, Claimed, TriggerFiles
from service.station.reports import PartReport
from service.station.settings.requests import FolderDoorSettings

logger = logging.getLogger("service.triggers")

_PRUNE_EVERY_S = 60.0
_AWAY_PAUSE_S = 1.0
_CLOSE_S = 2.0


class FolderDoor:
    """Watches a folder; see `PlcDoor`."""

    def __init__(self, settings: FolderDoorSettings, heard: Heard) -> None:
        self._settings = settings
        self._desk = Desk(settings, heard, self._deliver)
        self._files = TriggerFiles(settings)
        self._is_there = False
        self._prunes_at_s = 0.0
        self._owed: dict[str, Callable[[], None]] = {}
        """By claimed file: what was not written, because the folder was away."""
        self._undelivered: list[Entry] = []
        self._state = b""
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """The folder."""
        return self._settings.path.absolute().as_uri()

    @property
    def clients(self) -> int:
        """1 while the folder can be read."""
        return int(self._is_there)

    async def check(self) -> str:
        """Look into the folder. Raises `DoorClosed`."""
        count = await asyncio.to_thread(self._look)
        return f"can be read and written; {count} triggers wait, which a start refuses"

    async def open(self) -> None:
        """Refuse all files that are there, then watch. Raises `DoorClosed`."""
        await asyncio.to_thread(self._look)
        await self._desk.open()
        try:
            await asyncio.to_thread(self._files.open)
            for file in await asyncio.to_thread(self._files.claimed_before):
                self._recover(file)
        except OSError as error:
            await self._desk.close()
            raise self._unusable(error) from error
        self._undelivered += self._desk.undelivered()
        self._watching = asyncio.create_task(self._watch())

    def show(self, image: StationImage) -> None:
        """Note what the station shows."""
        self._desk.see(image)

    def told(self, report: PartReport) -> None:
        """Add the inspections to the part's answer."""
        self._desk.told(report)

    async def close(self) -> None:
        """Write all answers that there are, for a moment, and watch no more."""
        await self._desk.finish()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)
        with suppress(OSError):
            await self._write_state()
        await self._desk.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            pause_s = self._settings.poll_ms / 1_000
            try:
                for file in await asyncio.to_thread(self._files.claim_all):
                    self._start(self._handle(file))
                await self._write_owed()
                await self._write_state()
                if loop.time() >= self._prunes_at_s:
                    self._prunes_at_s = loop.time() + _PRUNE_EVERY_S
                    await asyncio.to_thread(self._files.prune)
            except OSError as error:
                self._note_there(is_there=False, reason=str(error))
                pause_s = _AWAY_PAUSE_S
            else:
                self._note_there(is_there=True)
            await asyncio.sleep(pause_s)

    async def _write_state(self) -> None:
        """Write what the station shows, if that has changed. Raises `OSError`."""
        state = json.dumps(state_of(self._desk.image)).encode()
        if state != self._state:
            await asyncio.to_thread(self._files.write_state, state)
            self._state = state

    async def _write_owed(self) -> None:
        """Write what could not be written before. Raises `OSError`."""
        for place, write in list(self._owed.items()):
            await asyncio.to_thread(write)
            self._owed.pop(place, None)
        owed, self._undelivered = self._undelivered, []
        for entry in owed:
            await self._write_entry(entry)

    async def _handle(self, file: Claimed) -> None:
        """Do what a file asks; the first answer of a part is written by `_deliver`."""
        try:
            content = await self._answer(file)
        except RequestRefused as error:
            if error.code != "stops":  # else it is told after the next start
                await self._write_or_owe(file, REFUSED, self._refusal(error, file.request))
        else:
            if content is not None:
                await self._write_or_owe(file, RESULTS, content)

    async def _answer(self, file: Claimed) -> bytes | None:
        """Return the answer, if it is still to be written. Raises `RequestRefused`."""
        request, by_command = file.request, False
        if file.refusal is not None:
            raise file.refusal
        assert request is not None
        if isinstance(request, CommandRequest):
            if request.code is not Command.START_SINGLE_JOB:
                return (await self._desk.command(request)).model_dump_json().encode()
            request, by_command = request.trigger(), True
        reply_to = {"file": file.name, "place": file.place}
        answer = await self._desk.inspect(request, reply_to, by_command=by_command)
        return _content(answer) if answer.repeated else None

    def _deliver(self, entry: Entry) -> None:
        """Write an answer, now or when the folder is back."""
        self._start(self._write_entry(entry))

    async def _write_entry(self, entry: Entry) -> None:
        """Write the answer of an entry; a failure is tried again at the next look."""
        if entry.answer is None:
            folder = REFUSED
            content = self._refusal(RequestRefused("not-taken", NOT_TAKEN), entry.request)
        else:
            folder, content = RESULTS, _content(entry.answer)
        reply_to = entry.reply_to or {}
        name, place = reply_to.get("file") or _name_of(entry.request), reply_to.get("place")
        try:
            await asyncio.to_thread(self._write, folder, name, content, place)
        except OSError as error:
            logger.warning("the answer of part %s waits: %s", entry.request.part_id, error)
            self._undelivered.append(entry)
        else:
            await self._desk.delivered(entry)

    async def _write_or_owe(self, file: Claimed, folder: str, content: bytes) -> None:
        def write() -> None:
            self._write(folder, file.name, content, file.place)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            logger.warning("the answer to %s waits: %s", file.name, error)
            self._owed[file.place or file.name] = write

    def _write(self, folder: str, name: str, content: bytes, place: str | None) -> None:
        """Write an answer, then forget the claimed file, if there is one. Raises `OSError`."""
        self._files.write(folder, name, content)
        if place:
            self._files.release(place)

    def _recover(self, file: Claimed) -> None:
        """Answer a file of an earlier run, unless its entry does so."""
        request = file.request
        if isinstance(request, CommandRequest):
            is_job = request.code is Command.START_SINGLE_JOB
            request = request.trigger() if is_job else None
        entry = None if request is None else self._desk.find(request)
        is_its_entry = entry is not None and (entry.reply_to or {}).get("place") == file.place
        if entry is not None and is_its_entry and not entry.is_delivered:
            return
        if entry is not None and entry.answer is not None:
            content = _content(entry.answer)
            self._owed[file.place] = lambda: self._write(RESULTS, file.name, content, file.place)
            return
        refusal = self._refusal(RequestRefused("not-taken", NOT_TAKEN), file.request)
        self._owed[file.place] = lambda: self._write(REFUSED, file.name, refusal, file.place)

    def _look(self) -> int:
        """Return the number of triggers that wait. Raises `DoorClosed`."""
        path = self._settings.path
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise DoorClosed(f"{path} is not a folder that can be read and written")
        try:
            return self._files.count()
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> DoorClosed:
        return DoorClosed(f"{self._settings.path} cannot be used: {error.strerror or error}")

    def _note_there(self, *, is_there: bool, reason: str = "") -> None:
        """Say once that the folder is away or back."""
        if is_there != self._is_there:
            logger.log(
                logging.INFO if is_there else logging.WARNING,
                "the folder %s is %s", self._settings.path, "there" if is_there else reason,
            )  # fmt: skip
        self._is_there = is_there

    def _refusal(
        self, error: RequestRefused, request: TriggerRequest | CommandRequest | None
    ) -> bytes:
        body = {**refusal_of(error, request), "state": state_at_refusal(error, self._desk.image)}
        return json.dumps(body).encode()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _content(answer: PartAnswer) -> bytes:
    return answer.model_dump_json().encode()


def _name_of(request: TriggerRequest) -> str:
    """Return the name of a trigger file that this part could have had."""
    return f"{request.trigger_number}-{quote(request.part_id, safe='')}.trigger"

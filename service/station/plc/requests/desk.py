"""Takes the requests of a door's clients, and hands out the answers.

    desk = Desk(settings, heard, deliver=door.deliver)
    await desk.open()
    answer = await desk.inspect(TriggerRequest(trigger_number=17, part_id="cell-17"))

A trigger of a number and part id that was just answered, or is in work, is a repeat: it starts no
part. A part that was taken is answered even if its client has left or the station was restarted:
`deliver` gets every entry that has an answer, and the door calls `delivered` once that is sent.
"""

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from service.station.machine.images import ResultFields, StationImage
from service.station.plc.door import DoorClosed, Heard
from service.station.plc.refusals import NotReady, StationCloses, not_ready_because
from service.station.plc.requester import Requester
from service.station.plc.requests.commands import Commands
from service.station.plc.requests.ledger import Entry, Ledger, LedgerUnusable, ReplyTo
from service.station.plc.requests.messages import (
    CommandAnswer,
    CommandRequest,
    InspectionAnswer,
    PartAnswer,
    RequestRefused,
    TriggerRequest,
    answer_of,
    inspections_of,
)
from service.station.reports import PartReport
from service.station.settings.requests import RequestDoorSettings

logger = logging.getLogger("service.desk")

_REPORT_S = 0.01
"""How long an answer waits for the report that adds its inspections."""

_LAST_RESULT_S = 1.0
_MOST_REPORTS = 8
_Inspections = tuple[InspectionAnswer, ...]
NOT_TAKEN = "the station stopped before it took the part"


class Desk:
    """One for each door; everything runs in the event loop."""

    def __init__(
        self, settings: RequestDoorSettings, heard: Heard, deliver: Callable[[Entry], None]
    ) -> None:
        self._settings = settings
        self._deliver = deliver
        self._requester = Requester(heard, keep=self._keep)
        self._answers: dict[int, asyncio.Future[PartAnswer]] = {}
        self._reports: OrderedDict[tuple[int, str], asyncio.Future[_Inspections]] = OrderedDict()
        self._commands = Commands(self._requester)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restored_left: int | None = None
        self._keeping: Entry | None = None
        self._is_beginning = self._is_closed = False

    @property
    def image(self) -> StationImage:
        """What the station shows now."""
        return self._requester.image

    async def open(self) -> None:
        """Open the ledger, then take part in the handshake. Raises `DoorClosed`."""
        try:
            self._ledger = await Ledger.open(
                self._settings.answers_folder,
                self._settings.door,
                repeat_s=self._settings.repeat_s,
                max_answers=self._settings.max_answers,
            )
        except LedgerUnusable as error:
            raise DoorClosed(str(error)) from error
        self._requester.open()

    async def finish(self) -> None:
        """Answer with the result that is shown, before the station stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_RESULT_S):
                while self.image.results_valid and self._answers:
                    await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Answer everybody who waits that the station stops."""
        self._is_closed = True
        await self._requester.close()
        for future in self._answers.values():
            _refuse(future, "stops", str(StationCloses()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ledger.close()

    def see(self, image: StationImage) -> None:
        """Note what the station shows; the first image has the results of an earlier run."""
        self._requester.see(image)
        if self._restored_left is None and image.online:
            self._restored_left = image.buffered
            if not image.buffered:
                self._refuse_not_taken()

    def told(self, report: PartReport) -> None:
        """Note the report of a part, for its answer."""
        future = self._report_of((report.part.trigger_number, report.part.part_id))
        if not future.done():
            future.set_result(inspections_of(report))

    async def inspect(
        self, request: TriggerRequest, reply_to: ReplyTo | None = None, *, by_command: bool = False
    ) -> PartAnswer:
        """Inspect a part, or return the answer that a repeat gets. Raises `RequestRefused`.

        The part is inspected and answered even if the caller is cancelled.
        """
        return await asyncio.shield(self._start(self._take(request, reply_to, by_command)))

    async def command(self, request: CommandRequest) -> CommandAnswer:
        """Give a command. Raises `RequestRefused`."""
        return await self._commands.give(request)

    def find(self, request: TriggerRequest) -> Entry | None:
        """Return the latest entry of a part, however old it is."""
        return self._ledger.find_any(request.key)

    def undelivered(self) -> list[Entry]:
        """Return the entries whose answers an earlier run, or a failure, left undelivered."""
        return self._ledger.undelivered

    async def delivered(self, entry: Entry) -> None:
        """Note that an entry's answer was sent; a desk that is closed sends it again."""
        if self._is_closed:
            return
        try:
            if entry.is_not_taken:
                await self._ledger.remove(entry)
            else:
                await self._ledger.delivered(entry)
        except sqlite3.Error as error:
            logger.warning("an answer may be sent again after a restart: %s", error)

    async def _repeat(self, request: TriggerRequest, entry: Entry) -> PartAnswer:
        if entry.request.request_id != request.request_id:
            raise RequestRefused(
                "other-request",
                f"trigger number {request.trigger_number} with part id {request.part_id!r} was "
                "used by a request with another request_id; give each part its own number",
            )
        answer = entry.answer
        if answer is None:
            answer = await asyncio.shield(self._answer_of(entry))
        return answer.model_copy(update={"repeated": True})

    async def _take(
        self, request: TriggerRequest, reply_to: ReplyTo | None, by_command: bool
    ) -> PartAnswer:
        """Note and trigger a part, unless it is a repeat. Raises `RequestRefused`."""
        earlier = self._ledger.find(request.key)
        if earlier is not None:
            return await self._repeat(request, earlier)
        image = self._requester.image
        if self._is_beginning or not (image.ready or by_command):
            self._requester.miss(*request.key)
            why = "another part is in work" if self._is_beginning else not_ready_because(image)
            raise RequestRefused("not-ready", why)
        self._is_beginning = True  # a flood is refused here: nothing waits for the disk
        try:
            entry = await self._ledger.add(request, reply_to)
        except sqlite3.Error as error:
            raise RequestRefused("not-ready", f"the request cannot be kept: {error}") from error
        finally:
            self._is_beginning = False
        future = self._answer_of(entry)
        self._reports.pop(request.key, None)
        try:
            await self._requester.inspect(*request.key, by_command=by_command)
        except StationCloses as error:  # whether it was taken is known at the next start
            raise RequestRefused("stops", str(error)) from error
        except NotReady as error:
            self._answers.pop(entry.number, None)
            _refuse(future, "not-ready", str(error))
            await self._remove(entry)
            raise RequestRefused("not-ready", str(error)) from error
        return await asyncio.shield(future)

    async def _remove(self, entry: Entry) -> None:
        try:
            await self._ledger.remove(entry)
        except sqlite3.Error as error:
            logger.warning("a refused trigger stays in the list of answers: %s", error)

    async def _keep(self, result: ResultFields) -> None:
        """Answer with a result, and write that down. Raises `sqlite3.Error`; repeat it then."""
        if self._keeping is None:
            self._keeping = await self._entry_of(result)
        if self._keeping is not None:
            await self._answer(self._keeping, result)
        self._keeping = None
        if self._restored_left:
            self._restored_left -= 1
            if not self._restored_left:
                self._refuse_not_taken()

    async def _answer(self, entry: Entry, result: ResultFields) -> None:
        """Answer an entry, unless that is done, and write it down. Raises `sqlite3.Error`."""
        if entry.answer is None:
            key = entry.request.key
            inspections = await self._await_report(key)
            entry.answer = answer_of(result, inspections, entry.request.request_id)
            future = self._answers.pop(entry.number, None)
            if future is not None and not future.done():
                future.set_result(entry.answer)
            self._deliver(entry)
        await self._ledger.answer(entry, entry.answer)

    async def _entry_of(self, result: ResultFields) -> Entry | None:
        """Return the entry of a result; of an earlier run, it may be answered already.

        A result of an earlier run without an entry here was another door's: nobody waits for it.
        """
        request = TriggerRequest.model_construct(
            trigger_number=result.trigger_number, part_id=result.part_id, request_id=None
        )
        entry = self._ledger.find_any(request.key)
        if entry is not None and (entry.answer is None or self._restored_left):
            return entry
        if self._restored_left:
            logger.warning(
                "the result of part %s is from before a change of the door: the archive has it",
                result.part_id,
            )
            return None
        return await self._ledger.add(request, None)

    def _refuse_not_taken(self) -> None:
        """Refuse the triggers that an earlier run had not taken when it ended."""
        for entry in self._ledger.unanswered:
            entry.is_not_taken = True
            future = self._answers.pop(entry.number, None)
            if future is not None:
                _refuse(future, "not-taken", NOT_TAKEN)
            self._deliver(entry)

    def _answer_of(self, entry: Entry) -> "asyncio.Future[PartAnswer]":
        if entry.number not in self._answers:
            self._answers[entry.number] = asyncio.get_running_loop().create_future()
        return self._answers[entry.number]

    def _report_of(self, key: tuple[int, str]) -> "asyncio.Future[_Inspections]":
        if key not in self._reports:
            self._reports[key] = asyncio.get_running_loop().create_future()
            while len(self._reports) > _MOST_REPORTS:
                self._reports.popitem(last=False)
        return self._reports[key]

    async def _await_report(self, key: tuple[int, str]) -> _Inspections:
        if self._restored_left:
            return ()
        try:
            return await asyncio.wait_for(asyncio.shield(self._report_of(key)), _REPORT_S)
        except TimeoutError:
            return ()
        finally:
            self._reports.pop(key, None)

    def _start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, RequestRefused):
            logger.error("a request failed", exc_info=error)


def _refuse(future: "asyncio.Future[PartAnswer]", code: Any, detail: str) -> None:  # noqa: ANN401
    """Refuse everybody who waits for an answer; it is no complaint if nobody does."""
    if not future.done():
        future.set_exception(RequestRefused(code, detail))
        future.exception()

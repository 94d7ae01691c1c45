"""Plays the PLC's side of the handshake, for doors whose clients send requests.

    requester = Requester(heard)
    requester.see(image)  # from the door's `show`
    result = await requester.inspect(17, "cell-17")

The machine stays the only one that decides: a requester sets the same bits as a PLC. A caller that
is cancelled leaves the handshake whole: Trigger and commands are always held to their end.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.machine.states import Command, CommandResult
from service.station.plc.door import Heard
from service.station.plc.refusals import NotReady, StationCloses, not_ready_because

__all__ = ["NotReady", "Requester", "StationCloses", "not_ready_because"]

logger = logging.getLogger("service.requester")

_Condition = Callable[[StationImage], bool]
_Value = TypeVar("_Value")
_RETRY_S = 0.5


@dataclass(eq=False, slots=True)
class _Part:
    """A part; when it is taken, its `position` counts all results from the station's start."""

    trigger_number: int
    part_id: str
    result: "asyncio.Future[ResultFields]"
    position: int = -1


async def _nothing(_result: ResultFields) -> None: ...


class Requester:
    """One master of one station.

    `unclaimed` gets results that nobody waits for: those of an earlier run, and those whose caller
    was cancelled. `keep` is awaited with every result before it is acknowledged, so a station that
    is killed before shows it again; while it fails, it is repeated.
    """

    def __init__(
        self,
        heard: Heard,
        unclaimed: Callable[[ResultFields], None] = lambda result: None,
        keep: Callable[[ResultFields], Awaitable[None]] = _nothing,
    ) -> None:
        self._heard = heard
        self._unclaimed = unclaimed
        self._keep = keep
        self._inputs = PlcImage(trigger_enable=True, buffer_enable=True)
        self._image = StationImage(online=False)
        self._waiting: list[tuple[_Condition, asyncio.Future[StationImage]]] = []
        self._parts: list[_Part] = []
        self._acknowledged = 0
        self._commanding = asyncio.Lock()
        self._triggering = asyncio.Lock()
        self._owes_missed_trigger = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    @property
    def image(self) -> StationImage:
        """What the station shows now."""
        return self._image

    @property
    def is_commanded(self) -> bool:
        """Whether a command is running."""
        return self._commanding.locked()

    def open(self) -> None:
        """Take part in the handshake; call it in the event loop, when the station runs."""
        self._start(self._take_results())
        self._write()

    async def close(self) -> None:
        """Take part no more; callers that wait get `StationCloses`."""
        self._is_closed = True
        futures: list[asyncio.Future[Any]] = [future for _, future in self._waiting]
        for future in [*futures, *(part.result for part in self._parts)]:
            if not future.done():
                future.set_exception(StationCloses())
                future.exception()  # so that one without a caller is no complaint in the log
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def see(self, image: StationImage) -> None:
        """Note what the station shows."""
        self._image = image
        waiting, self._waiting = self._waiting, []
        for condition, future in waiting:
            if future.done():
                continue
            if condition(image):
                future.set_result(image)
            else:
                self._waiting.append((condition, future))

    async def inspect(
        self, trigger_number: int, part_id: str, *, by_command: bool = False
    ) -> ResultFields:
        """Start a part, and return its result within the takt time. Raises `NotReady`.

        It is started by Trigger, and a part that is refused is a missed trigger, as with a PLC; or
        by the command StartSingleJob.
        """
        take = self._take_by_command if by_command else self._take_by_trigger
        result: asyncio.Future[ResultFields] = asyncio.get_running_loop().create_future()
        try:
            await self._to_its_end(take(_Part(trigger_number, part_id, result)))
            return await result
        finally:
            result.cancel()  # if it did not come: nobody waits for it any more

    async def start(self, trigger_number: int, part_id: str, *, by_command: bool = False) -> None:
        """Like `inspect`, but return when the part is taken; its result is unclaimed."""
        take = self._take_by_command if by_command else self._take_by_trigger
        result: asyncio.Future[ResultFields] = asyncio.get_running_loop().create_future()
        try:
            await self._to_its_end(take(_Part(trigger_number, part_id, result)))
        finally:
            result.cancel()  # nobody waits for it

    def miss(self, trigger_number: int, part_id: str) -> None:
        """Let the machine miss a trigger that is refused, before anything else happens."""
        self._write()  # a step, after which it is certain whether the station is ready
        if self._image.ready or self._triggering.locked():
            self._owes_missed_trigger = True  # comes on as soon as the next part is taken
        else:
            self._write(trigger=True, trigger_number=trigger_number, part_id=part_id)
            self._write(trigger=False)

    async def command(self, command: Command, recipe: int = 0) -> CommandResult:
        """Give a command, and return how it ended; see `inspect` for StartSingleJob.

        DequeueResult is refused: the requester takes every result by itself.
        """
        if command is Command.START_SINGLE_JOB:
            raise ValueError("StartSingleJob needs a part: use inspect(..., by_command=True)")
        if command is Command.DEQUEUE_RESULT:
            return CommandResult.REFUSED
        return await self._to_its_end(self._command(command, recipe))

    async def _command(self, command: Command, recipe: int) -> CommandResult:
        async with self._commanding:
            self._write(command=command, recipe=recipe)
            return await self._end_command(command)

    async def _end_command(self, command: Command) -> CommandResult:
        """Wait for the end of the command that was just written, and take it back."""
        try:
            done = await self._until(
                lambda image: (
                    image.ack_command == command
                    and image.command_result is not CommandResult.RUNNING
                )
            )
        finally:
            self._write(command=0)
        await self._until(lambda image: image.ack_command == 0)
        return done.command_result

    async def _take_by_command(self, part: _Part) -> None:
        """Give the command StartSingleJob. Raises `NotReady`."""
        if self._commanding.locked():
            raise NotReady("a command is running")
        command = Command.START_SINGLE_JOB
        async with self._commanding:
            try:
                self._begin(part, command=command)
            except NotReady:
                await self._end_command(command)
                raise
            result = await self._end_command(command)
        if result is not CommandResult.DONE:
            self._parts.remove(part)
            raise NotReady(not_ready_because(self._image))

    async def _take_by_trigger(self, part: _Part) -> None:
        """Hold Trigger until TriggerAck. Raises `NotReady`.

        A trigger that comes meanwhile is refused at once: no trigger ever waits.
        """
        if self._triggering.locked():
            self._owes_missed_trigger = True
            raise NotReady("another part is in work")
        async with self._triggering:
            try:
                self._begin(part, trigger=True)
                image = await self._until(lambda image: image.trigger_ack or not image.busy)
            finally:
                self._write(trigger=False)
            if not image.trigger_ack:
                self._parts.remove(part)
                raise NotReady(not_ready_because(image))
            await self._until(lambda image: not image.trigger_ack)
            self._show_missed_triggers()

    def _begin(self, part: _Part, **start: object) -> None:
        """Write what starts a part. Raises `NotReady` if the machine has not taken it.

        The machine steps at once. It may end a part that is out of time in the same step.
        """
        before = self._image
        if self._is_closed or not before.online:
            raise StationCloses
        self._write(trigger_number=part.trigger_number, part_id=part.part_id, **start)
        after = self._image
        has_ended_one = after.buffered > before.buffered
        if not after.busy or (before.busy and not has_ended_one):
            raise NotReady(not_ready_because(before if before.busy else after))
        part.position = self._acknowledged + after.buffered
        self._parts.append(part)

    def _show_missed_triggers(self) -> None:
        """Let MissedTrigger come on for triggers that came while Trigger was held."""
        if self._owes_missed_trigger:
            self._owes_missed_trigger = False
            self._write()  # a step, after which it is certain whether a part is in work
            if self._image.busy:
                self._write(trigger=True)
                self._write(trigger=False)

    async def _take_results(self) -> None:
        while True:
            image = await self._until(lambda image: image.results_valid)
            result = image.result
            self._hand_out(result)
            while not await self._is_kept(result):
                await asyncio.sleep(_RETRY_S)
            if self._image.results_valid:
                self._acknowledged += 1
            self._write(results_ack=True)
            await self._until(lambda image: not image.results_valid)
            self._write(results_ack=False)

    def _hand_out(self, result: ResultFields) -> None:
        """Give a result to its caller; results come in the order of their parts."""
        part = next((p for p in self._parts if p.position == self._acknowledged), None)
        if part is not None:
            self._parts.remove(part)
            if not part.result.done():
                part.result.set_result(result)
                return
        try:
            self._unclaimed(result)
        except Exception:
            logger.exception("a result without a caller was not passed on")

    async def _is_kept(self, result: ResultFields) -> bool:
        try:
            await self._keep(result)
        except Exception:
            logger.exception("a result cannot be kept, and waits")
            return False
        return True

    async def _until(self, condition: _Condition) -> StationImage:
        if self._is_closed:
            raise StationCloses
        if condition(self._image):
            return self._image
        future: asyncio.Future[StationImage] = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, future))
        return await future

    async def _to_its_end(self, work: Coroutine[Any, Any, _Value]) -> _Value:
        """Await work that goes on if the caller is cancelled."""
        task = self._start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `close`
                raise StationCloses from None
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            raise

    def _start(self, work: Coroutine[Any, Any, _Value]) -> asyncio.Task[_Value]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _write(self, **values: object) -> None:
        self._inputs = replace(self._inputs, **values)  # type: ignore[arg-type]
        self._heard(self._inputs)

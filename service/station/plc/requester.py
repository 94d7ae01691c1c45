"""Plays the PLC's side of the handshake, for doors whose clients send requests.

    requester = Requester(heard)
    requester.see(image)  # from the door's `show`
    result = await requester.inspect(17, "cell-17")

The machine stays the only one that decides: a requester sets the same bits as a PLC.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.machine.states import Command, CommandResult, State
from service.station.plc.door import Heard

_Condition = Callable[[StationImage], bool]


class NotReady(Exception):
    """The station takes no part now; the message says why."""


class Requester:
    """One master of one station. `unclaimed` gets results that nobody waits for.

    Those are results of an earlier run, and those whose caller was cancelled.
    """

    def __init__(
        self, heard: Heard, unclaimed: Callable[[ResultFields], None] = lambda result: None
    ) -> None:
        self._heard = heard
        self._unclaimed = unclaimed
        self._inputs = PlcImage(trigger_enable=True, buffer_enable=True)
        self._image = StationImage(online=False)
        self._waiting: list[tuple[_Condition, asyncio.Future[StationImage]]] = []
        self._results: dict[tuple[int, str], asyncio.Future[ResultFields]] = {}
        self._commanding = asyncio.Lock()
        self._triggering = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None

    @property
    def image(self) -> StationImage:
        """What the station shows now."""
        return self._image

    def open(self) -> None:
        """Take part in the handshake; call it in the event loop, when the station runs."""
        self._pump = asyncio.create_task(self._take_results())
        self._write()

    async def close(self) -> None:
        """Take part no more."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

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

    @property
    def is_commanding(self) -> bool:
        """Whether a command is running."""
        return self._commanding.locked()

    async def inspect(self, trigger_number: int, part_id: str) -> ResultFields:
        """Trigger a part, and return its result within the takt time. Raises `NotReady`.

        A part that is refused is a missed trigger, as with a PLC.
        """
        key = (trigger_number, part_id)
        async with self._triggering:
            if key in self._results:
                raise NotReady(f"part {part_id!r} with the number {trigger_number} is in work")
            why = None if self._image.ready else not_ready_because(self._image)
            future: asyncio.Future[ResultFields] = asyncio.get_running_loop().create_future()
            if why is None:
                self._results[key] = future
            try:
                await self._trigger(trigger_number, part_id, is_taken=why is None)
            except BaseException:
                self._results.pop(key, None)
                raise
        if why is not None:
            raise NotReady(why)
        try:
            return await future
        finally:
            self._results.pop(key, None)

    async def start(self, trigger_number: int, part_id: str) -> None:
        """Trigger a part, and return when it is taken. Raises `NotReady`.

        Its result comes to `unclaimed`, and in full to the door's `told`.
        """
        async with self._triggering:
            why = None if self._image.ready else not_ready_because(self._image)
            await self._trigger(trigger_number, part_id, is_taken=why is None)
        if why is not None:
            raise NotReady(why)

    async def command(
        self, command: Command, recipe: int = 0, trigger_number: int = 0, part_id: str = ""
    ) -> CommandResult:
        """Give a command, and return how it ended; StartSingleJob takes the part's names."""
        async with self._commanding:
            names = {"trigger_number": trigger_number, "part_id": part_id}
            self._write(command=command, recipe=recipe, **names)
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

    async def _trigger(self, trigger_number: int, part_id: str, *, is_taken: bool) -> None:
        """Hold Trigger until TriggerAck. Raises `NotReady` if the part could not be taken."""
        self._write(trigger=True, trigger_number=trigger_number, part_id=part_id)
        try:
            if is_taken:
                image = await self._until(lambda image: image.trigger_ack or not image.busy)
                if not image.trigger_ack:
                    raise NotReady(not_ready_because(image))
        finally:
            self._write(trigger=False)
        await self._until(lambda image: not image.trigger_ack)

    async def _take_results(self) -> None:
        while True:
            image = await self._until(lambda image: image.results_valid)
            result = image.result
            future = self._results.pop((result.trigger_number, result.part_id), None)
            if future is None or future.done():
                self._unclaimed(result)
            else:
                future.set_result(result)
            self._write(results_ack=True)
            await self._until(lambda image: not image.results_valid)
            self._write(results_ack=False)

    async def _until(self, condition: _Condition) -> StationImage:
        if condition(self._image):
            return self._image
        future: asyncio.Future[StationImage] = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, future))
        return await future

    def _write(self, **values: object) -> None:
        self._inputs = replace(self._inputs, **values)  # type: ignore[arg-type]
        self._heard(self._inputs)


def not_ready_because(image: StationImage) -> str:
    """Say why a station takes no part."""
    if image.busy:
        return "another part is in work"
    if image.state not in (State.READY, State.CONTINUOUS_EXECUTION):
        state = image.state.name.lower().replace("_", " ")
        if image.error:
            error = image.error_code.name.lower().replace("_", " ")
            return f"the station is in the state {state}: {error}"
        return f"the station is in the state {state}"
    return "the station is not ready"

"""Performs steps as the PLC, while it cycles: its heartbeat runs, and changes are printed.

async with Player(link, say=print) as player:
    await player.perform(parse("set TriggerEnable BufferEnable"))
    await player.perform(parse("wait Ready"))
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from service.station.machine.images import PlcImage
from service.station.machine.states import CommandResult
from service.station.machine.verdicts import NO_SCORE
from service.station.plc.layout import PLC_WRITES
from service.station.simulating.actions import (
    Action,
    Beat,
    Disconnect,
    Expect,
    ExposePart,
    Give,
    Pause,
    Show,
    TakeResult,
    TriggerPart,
    Wait,
    Write,
)
from service.station.simulating.camera import Expose
from service.station.simulating.links import Link, Outputs, StationAway
from service.station.simulating.steps import Step
from service.station.simulating.values import Condition, Value, shown

_CYCLE_S = 0.01
_AWAY_S = 60.0
"""How long a step waits for a station that is away; it may be starting."""
_COUNTS = 2**16
_HEARTBEAT = "StationHeartbeat"
Say: TypeAlias = Callable[[str], None]
_Answer = TypeVar("_Answer")


class StepFailed(Exception):
    """The station did not do what a step needs; the message says what it shows."""


class Player:
    """A PLC that does what its steps say.

    `expose` is the simulated camera, if there is one; `say` gets each line to print. The part
    number goes on after a restart.
    """

    def __init__(
        self, link: Link, say: Say, expose: Expose | None = None, first_number: int = 1
    ) -> None:
        self._link = link
        self._say = say
        self._expose = expose
        self._number = first_number - 1
        self._inputs = PlcImage()
        self._beats = True
        self._lock = asyncio.Lock()
        self._is_away = False
        self._cycling: asyncio.Task[None] | None = None
        self._is_over = False
        self.outputs: Outputs = {}
        """What the station showed last; empty if it did not answer."""

    async def __aenter__(self) -> "Player":
        self._cycling = asyncio.create_task(self._cycle())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._cycling is not None
        self._is_over = True  # wait_for before Python 3.12 can swallow the cancellation
        self._cycling.cancel()
        await asyncio.gather(self._cycling, return_exceptions=True)
        await self._link.cut()

    @property
    def inputs(self) -> PlcImage:
        """What the PLC writes."""
        return self._inputs

    async def perform(self, action: Action) -> None:
        """Perform a step. Raises `StepFailed`."""
        match action:
            case Write():
                await self._write(**{field.source: value for field, value in action.values})
            case Wait():
                await self._until(action.conditions, action.within_s)
            case Expect():
                self._check(action.conditions, await self._read())
            case Pause():
                await asyncio.sleep(action.seconds)
            case Give():
                await self._command(action)
            case TriggerPart():
                await self._part(action)
            case TakeResult():
                await self._take_result(action.within_s)
            case ExposePart():
                await self._expose_part()
            case Beat():
                self._beats = action.is_on
            case Disconnect():
                await self._disconnect(action)
            case Show():
                self._show(await self._read())

    async def _cycle(self) -> None:
        """Work as a PLC between the steps: write with a new heartbeat, and look."""
        while not self._is_over:
            try:
                async with self._lock:
                    if self._beats:
                        count = (self._inputs.heartbeat + 1) % _COUNTS
                        self._inputs = replace(self._inputs, heartbeat=count)
                    await self._link.write(self._inputs)
                    self._see(await self._link.read())
            except StationAway as error:
                self._miss(error)
            await asyncio.sleep(_CYCLE_S)

    async def _write(self, **values: object) -> None:
        """Write some values in a request of their own, as soon as the station is there."""
        self._inputs = replace(self._inputs, **values)  # type: ignore[arg-type]
        self._number = max(self._number, self._inputs.trigger_number)
        await self._reach(lambda: self._link.write(self._inputs))

    async def _read(self) -> Outputs:
        outputs = await self._reach(self._link.read)
        self._see(outputs)
        return outputs

    async def _reach(self, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Send a request, again and again while the station is away. Raises `StepFailed`."""
        try:
            async with asyncio.timeout(_AWAY_S):
                while True:
                    try:
                        async with self._lock:
                            return await request()
                    except StationAway as error:
                        self._miss(error)
                    await asyncio.sleep(_CYCLE_S)
        except TimeoutError as error:
            raise StepFailed(f"the station did not answer within {_AWAY_S:g} s") from error

    async def _until(self, conditions: Sequence[Condition], within_s: float) -> Outputs:
        """Wait until all conditions hold, and return what was shown then. Raises `StepFailed`."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    outputs = await self._read()
                    if all(condition.holds(outputs) for condition in conditions):
                        return outputs
                    await asyncio.sleep(_CYCLE_S)
        except TimeoutError as error:
            raise StepFailed(f"not within {within_s:g} s; {self._summary()}") from error

    def _check(self, conditions: Sequence[Condition], outputs: Outputs) -> None:
        wrong = [condition for condition in conditions if not condition.holds(outputs)]
        if wrong:
            values = ", ".join(shown(each.name, outputs[each.name]) for each in wrong)
            raise StepFailed(f"got {values}; {self._summary()}")

    async def _command(self, action: Give) -> None:
        await self._write(command=action.command, recipe=action.recipe or self._inputs.recipe)
        over = (
            Condition("AckCommand", action.command),
            Condition("CommandResult", CommandResult.RUNNING, is_wanted=False),
        )
        try:
            result = (await self._until(over, action.within_s))["CommandResult"]
        finally:
            await self._write(command=0)
        await self._until((Condition("AckCommand", 0),), action.within_s)
        if result != action.expected:
            expected = shown("CommandResult", action.expected)
            raise StepFailed(f"got {shown('CommandResult', result)}, expected {expected}")

    async def _part(self, action: TriggerPart) -> None:
        await self._until((Condition("Ready", value=True),), action.within_s)
        number = self._number + 1
        part_id = f"part-{number}" if action.part_id is None else action.part_id
        await self._write(trigger=True, trigger_number=number, part_id=part_id)
        try:
            await self._until((Condition("TriggerAck", value=True),), action.within_s)
            if self._expose is not None:
                await self._expose(number)
        finally:
            await self._write(trigger=False)
        await self._until((Condition("TriggerAck", value=False),), action.within_s)
        while action.awaits_result:
            outputs = await self._take_result(action.within_s)
            if (outputs["ResultTriggerNumber"], outputs["ResultPartId"]) == (number, part_id):
                return
            self._say("      that was the result of an earlier part")

    async def _take_result(self, within_s: float) -> Outputs:
        """Wait for a result, print it, acknowledge it, and return it."""
        outputs = await self._until((Condition("ResultsValid", value=True),), within_s)
        score = outputs["Score"]
        fields = [shown(name, outputs[name]) for name in ("Verdict", "Reason", "FailSafe")]
        self._say(
            f"      result of {outputs['ResultTriggerNumber']} {outputs['ResultPartId']!r}: "
            f"{' '.join(fields)} Score={score if score != NO_SCORE else 'none'}"
        )
        await self._write(results_ack=True)
        await self._until((Condition("ResultsValid", value=False),), within_s)
        await self._write(results_ack=False)
        return outputs

    async def _expose_part(self) -> None:
        if self._expose is None:
            raise StepFailed("there is no simulated camera: start with --images FOLDER")
        await self._expose(self._inputs.trigger_number)

    async def _disconnect(self, action: Disconnect) -> None:
        async with self._lock:
            await self._link.cut(forgets=action.forgets)
            if action.forgets:
                self._inputs = PlcImage()
            await asyncio.sleep(action.seconds)

    def _see(self, outputs: Outputs) -> None:
        """Note what the station shows, and print what has changed."""
        changes = [
            shown(name, value)
            for name, value in outputs.items()
            if name != _HEARTBEAT and value != self.outputs.get(name, _at_start(value))
        ]
        if self._is_away:
            self._say("      the station answers")
        self._is_away = False
        self.outputs = outputs
        if changes:
            self._say(f"      {'  '.join(changes)}")

    def _miss(self, error: StationAway) -> None:
        if not self._is_away:
            self._say(f"      the station is away: {error}")
        self._is_away = True

    def _summary(self) -> str:
        """Return the bits that are on, and the registers that are not 0."""
        values = [shown(name, value) for name, value in self.outputs.items() if value]
        return f"the station shows {'  '.join(values) or 'nothing'}"

    def _show(self, outputs: Outputs) -> None:
        for name, value in outputs.items():
            self._say(f"      {shown(name, value)}")
        for field in PLC_WRITES:
            self._say(f"      PLC: {shown(field.name, getattr(self._inputs, field.source))}")


async def play(steps: Sequence[Step], player: Player, script: Path, say: Say) -> None:
    """Perform all steps of a script. Raises `StepFailed`, with the line."""
    for step in steps:
        say(f"{step.line:4}  {step.text}")
        try:
            await player.perform(step.action)
        except StepFailed as error:
            raise StepFailed(f"{script}, line {step.line}: {step.text}: {error}") from error


def _at_start(value: Value) -> Value:
    """Return the value that a register has before anything is shown."""
    return type(value)()

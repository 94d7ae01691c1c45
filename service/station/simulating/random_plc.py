"""A PLC that triggers parts with random delays, drops and restarts.

It works as a PLC does, in scans: read all outputs, decide, write all inputs.
"""

import asyncio
import random
from dataclasses import dataclass, field, replace

from service.station.machine.images import PlcImage
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import Verdict
from service.station.plc.layout import WordOrder
from service.station.simulating.camera import Expose
from service.station.simulating.links import ClientLink, Link, Outputs, StationAway

_SCAN_S = 0.002
_CONNECT_S = 0.05
_HOLD_SCANS = 2_000
_QUIET_SCANS = 20


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """How the PLC behaves; shares are probabilities.

    `max_delay_ms` is the longest pause between two scans. `drops_early`: of parts whose Trigger
    falls before TriggerAck. `acks_late`: of results that wait for some scans. `restarts`: of scans
    after which the PLC loses its memory and its connection.
    """

    parts: int = 10
    recipe: int = 1
    seed: int = 0
    first_number: int = 1
    max_delay_ms: float = 0.0
    drops_early: float = 0.0
    acks_late: float = 0.0
    restarts: float = 0.0
    commands: bool = True
    """Whether the PLC brings the station to Ready; else it does so by itself."""
    time_limit_s: float = 600.0


@dataclass(slots=True)
class Report:
    """What the PLC saw, by trigger number."""

    part_ids: dict[int, str] = field(default_factory=dict)
    acknowledged: set[int] = field(default_factory=set)
    """Parts whose TriggerAck the PLC saw while it held their Trigger."""
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    missed: int = 0

    @property
    def missing(self) -> set[int]:
        """Acknowledged parts without a result."""
        return self.acknowledged - self.verdicts.keys()


class SimulatedPlc:
    """One PLC, on a link or, as a client, at a station's address."""

    def __init__(
        self,
        link: Link | tuple[str, int],
        settings: SimulatorSettings,
        expose: Expose,
        order: WordOrder = WordOrder.BIG,
    ) -> None:
        self._link: Link = ClientLink(*link, order) if isinstance(link, tuple) else link
        self._settings = settings
        self._expose = expose
        self._dice = random.Random(settings.seed)
        self._number = settings.first_number - 1
        self._last = settings.first_number + settings.parts - 1
        self._inputs = PlcImage(trigger_enable=True, buffer_enable=True)
        self._held_scans = self._late_scans = self._quiet_scans = 0
        self._drops_early = False
        self.report = Report()

    async def run(self) -> Report:
        """Trigger all parts, and return when no result is missing. Raises `TimeoutError`."""
        try:
            async with asyncio.timeout(self._settings.time_limit_s):
                while self._quiet_scans < _QUIET_SCANS:
                    await self._scan()
        finally:
            await self._link.cut()
        return self.report

    def finish(self) -> None:
        """Trigger no more parts; `run` returns when no result is missing."""
        self._last = self._number

    async def _scan(self) -> None:
        try:
            await self._decide(await self._link.read())
            self._change(heartbeat=(self._inputs.heartbeat + 1) % 2**16)
            await self._link.write(self._inputs)
        except StationAway:
            await asyncio.sleep(_CONNECT_S)
        if self._dice.random() < self._settings.restarts:
            await self._restart()
        delay_s = self._dice.random() * self._settings.max_delay_ms / 1_000
        await asyncio.sleep(max(_SCAN_S, delay_s))

    async def _decide(self, outputs: Outputs) -> None:
        self._see_result(outputs)
        self._clear_error(outputs)
        if self._settings.commands:
            self._command(outputs)
        await self._trigger(outputs)
        is_working = outputs["Busy"] or outputs["Buffered"] or self._inputs.trigger
        is_quiet = self._number >= self._last and outputs["Online"] and not is_working
        self._quiet_scans = self._quiet_scans + 1 if is_quiet else 0

    def _see_result(self, outputs: Outputs) -> None:
        if not outputs["ResultsValid"]:
            self._change(results_ack=False)
        elif self._late_scans > 0:
            self._late_scans -= 1
        elif not self._inputs.results_ack:
            self._keep(outputs)
            self._change(results_ack=True)
            if self._dice.random() < self._settings.acks_late:
                self._late_scans = self._dice.randrange(1, 60)

    def _keep(self, outputs: Outputs) -> None:
        number, verdict = outputs["ResultTriggerNumber"], Verdict(outputs["Verdict"])
        report = self.report
        if report.part_ids.get(number) != outputs["ResultPartId"]:
            report.problems.append(f"a result for {number} {outputs['ResultPartId']!r}")
        earlier = report.verdicts.setdefault(number, verdict)
        # A restarted station knows no more why a part was not inspected.
        both_without = not (earlier.was_inspected or verdict.was_inspected)
        if earlier is not verdict and not both_without:
            report.problems.append(f"{number}: {earlier.name}, then {verdict.name}")

    def _clear_error(self, outputs: Outputs) -> None:
        self._change(clear_error=bool(outputs["Error"]) and not self._inputs.clear_error)

    def _command(self, outputs: Outputs) -> None:
        is_over = outputs["CommandResult"] != CommandResult.RUNNING
        if self._inputs.command:
            if outputs["AckCommand"] == self._inputs.command and is_over:
                self._change(command=0)
        elif outputs["AckCommand"] == 0 and outputs["State"] == State.PREOPERATIONAL:
            self._change(command=Command.SELECT_MODE_AUTOMATIC)
        elif outputs["AckCommand"] == 0 and outputs["State"] == State.INITIALIZED:
            self._change(command=Command.PREPARE_RECIPE, recipe=self._settings.recipe)

    async def _trigger(self, outputs: Outputs) -> None:
        if self._inputs.trigger:
            await self._hold_trigger(outputs)
        elif outputs["Ready"] and not outputs["TriggerAck"] and self._number < self._last:
            self._number += 1
            part_id = f"part-{self._number}-{self._dice.randrange(2**32):08x}"
            self.report.part_ids[self._number] = part_id
            self._change(trigger=True, trigger_number=self._number, part_id=part_id)
            self._held_scans = 0
            self._drops_early = self._dice.random() < self._settings.drops_early

    async def _hold_trigger(self, outputs: Outputs) -> None:
        self._held_scans += 1
        if outputs["TriggerAck"]:
            self.report.acknowledged.add(self._number)
            await self._expose(self._number)
            self._change(trigger=False)
        elif self._drops_early or outputs["MissedTrigger"] or self._held_scans > _HOLD_SCANS:
            self.report.missed += 1
            self._change(trigger=False)

    async def _restart(self) -> None:
        await self._link.cut(forgets=True)
        self._inputs = PlcImage(trigger_enable=True, buffer_enable=True)
        self._late_scans = 0

    def _change(self, **values: object) -> None:
        self._inputs = replace(self._inputs, **values)  # type: ignore[arg-type]

"""The machine: in each step it hears an event, watches the clock, then reads the PLC's bits."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from service.station.machine.commands import CommandHandshake
from service.station.machine.events import (
    Action,
    Decided,
    Event,
    Exposed,
    RecipeFailed,
    RecipePrepared,
    SpoolFailed,
    ToldDurable,
    TriggerDurable,
)
from service.station.machine.faults import ErrorCode
from service.station.machine.heartbeats import Heartbeats
from service.station.machine.images import PlcImage, ResultFields, StationImage
from service.station.machine.settings import MachineSettings
from service.station.machine.states import Command, CommandResult, Occurrence, State
from service.station.machine.trigger import TriggerHandshake
from service.station.machine.verdicts import Outcome, Reason, Verdict
from service.station.machine.work import Counts, Work

__all__ = ["Machine", "MachineSettings", "Step"]

LATE = Outcome(Verdict.UNDECIDED, Reason.DEADLINE)
RETRY_MS = 2_000.0
"""After this time an autostart whose recipe could not be prepared tries again."""

_TAKES_PARTS = (State.READY, State.CONTINUOUS_EXECUTION)


@dataclass(frozen=True, slots=True)
class Step:
    """What the PLC reads from now on, and what the caller has to do.

    The next step is due at once if `follows_at_once`, else at `wake_at_ms` at the latest.
    """

    image: StationImage
    actions: tuple[Action, ...]
    follows_at_once: bool
    wake_at_ms: float


class Machine:
    """One station; `first_job` is larger than any job in the spool.

    `restored` are results of an earlier run that the PLC has not acknowledged. `was_interrupted`
    says that the earlier run ended with a part in work: the station starts in the state Error.
    """

    def __init__(
        self,
        settings: MachineSettings,
        *,
        first_job: int = 1,
        restored: Iterable[tuple[int, ResultFields]] = (),
        was_interrupted: bool = False,
    ) -> None:
        self._settings = settings
        self._work = Work(settings, first_job, restored)
        self._commands = CommandHandshake()
        self._trigger = TriggerHandshake()
        self._heartbeats = Heartbeats(settings.plc_timeout_ms, settings.heartbeat_ms)
        self._clear_error_was_low = False
        self._commanded_job: int | None = None
        self._autostart_at_ms = -math.inf if settings.autostart_recipe else math.inf
        self._is_closing = False
        if was_interrupted:
            self._work.latch(ErrorCode.UNCLEAN_RESTART)

    @property
    def job(self) -> int | None:
        """The job of the part in work."""
        return self._work.part.job if self._work.part else None

    @property
    def counts(self) -> Counts:
        """Triggers, missed triggers and overruns since the start."""
        return self._work.counts

    @property
    def errors(self) -> tuple[ErrorCode, ...]:
        """The errors that are not acknowledged, oldest first."""
        return self._work.errors.codes

    def close(self) -> None:
        """Take no part from now on."""
        self._is_closing = True

    def step(self, inputs: PlcImage, now_ms: float, event: Event | None = None) -> Step:
        """Return the reaction to an event, to what the PLC writes now, and to the time.

        `now_ms` never goes back.
        """
        work = self._work
        work.inputs, work.now_ms = inputs, now_ms
        self._heartbeats.watch(inputs, now_ms)
        if event is not None:
            self._hear(event)
        if work.part is not None and now_ms >= work.part.deadline_ms:
            work.decide(LATE)
        if work.results.becomes_late(now_ms, self._settings.ack_timeout_ms):
            work.miss_acknowledgement()
        self._clear_error()
        self._command()
        self._autostart()
        self._take_trigger()
        acknowledged = work.results.acknowledged(inputs)
        if acknowledged is not None:
            work.settle(acknowledged)
        if not inputs.trigger_enable:
            work.exposure_done = work.missed_trigger = work.overrun = False
        follows_at_once = work.results.show(inputs, now_ms)
        return Step(self._image(), work.take_actions(), follows_at_once, self._wake_at_ms())

    def _hear(self, event: Event) -> None:
        if isinstance(event, RecipePrepared | RecipeFailed):
            self._hear_of_recipe(event)
            return
        work, part = self._work, self._work.part
        if isinstance(event, SpoolFailed) and (part is None or part.job != event.job):
            work.latch(event.code)
        if part is None or part.job != event.job:
            return  # a report that comes after the part has ended
        match event:
            case TriggerDurable():
                self._trigger_is_durable(part.job)
            case SpoolFailed():
                self._commands.error = event.code
                self._end_command_of(part.job, CommandResult.FAILED)
                work.spool_failed(event.code)
            case Exposed():
                work.exposure_done = True
            case Decided():
                work.decide(event.outcome)
            case ToldDurable():
                if event.outcome == part.outcome:
                    part.is_being_written = False
                    work.show_when_allowed()

    def _trigger_is_durable(self, job: int) -> None:
        if self._commanded_job == job:
            self._end_command_of(job, CommandResult.DONE)
        elif not self._trigger.acknowledge(self._work.inputs):
            self._work.latch(ErrorCode.TRIGGER_DROPPED)
        self._work.trigger_is_durable()

    def _end_command_of(self, job: int, result: CommandResult) -> None:
        if self._commanded_job == job:
            self._commanded_job = None
            self._commands.end(result)

    def _hear_of_recipe(self, event: RecipePrepared | RecipeFailed) -> None:
        work = self._work
        if work.preparing != event.recipe:
            return
        work.preparing = 0
        if isinstance(event, RecipePrepared) and work.apply(Occurrence.RECIPE_PREPARED):
            work.recipe = event.recipe
            self._commands.end(CommandResult.DONE)
            return
        if isinstance(event, RecipeFailed):
            self._blame(ErrorCode.RECIPE_FAILED)
        self._commands.end(CommandResult.FAILED)
        if self._autostart_at_ms < math.inf:
            self._autostart_at_ms = work.now_ms + RETRY_MS

    def _clear_error(self) -> None:
        is_high = self._work.inputs.clear_error
        if is_high and self._clear_error_was_low:
            self._work.acknowledge_error()
        self._clear_error_was_low = not is_high

    def _command(self) -> None:
        code = self._commands.next_code(self._work.inputs)
        if not code:
            return
        try:
            command = Command(code)
        except ValueError:
            self._commands.end(CommandResult.REFUSED)
            return
        result = self._begin(command)
        if result is not CommandResult.RUNNING:
            self._commands.end(result)

    def _begin(self, command: Command) -> CommandResult:
        work = self._work
        if command is Command.ACKNOWLEDGE_ERROR:
            return _done_if(work.acknowledge_error())
        if command is Command.DEQUEUE_RESULT:
            return _done_if(self._dequeue_result())
        is_refused = command is Command.START_SINGLE_JOB and not self._can_take_part()
        if is_refused or not work.apply(command):
            return CommandResult.REFUSED
        work.preparing = 0  # of an autostart, which the command ends
        self._autostart_at_ms = math.inf
        if command is Command.PREPARE_RECIPE:
            return self._prepare(work.inputs.recipe)
        if command is Command.START_SINGLE_JOB and work.part is not None:
            self._commanded_job = work.part.job
            return CommandResult.RUNNING
        return CommandResult.DONE

    def _dequeue_result(self) -> bool:
        job = self._work.results.take()
        if job is not None:
            self._work.settle(job)
        return job is not None

    def _prepare(self, recipe: int) -> CommandResult:
        if recipe not in self._settings.recipes:
            self._blame(ErrorCode.UNKNOWN_RECIPE)
            return CommandResult.FAILED
        self._work.prepare(recipe)
        return CommandResult.RUNNING

    def _blame(self, code: ErrorCode) -> None:
        self._work.latch(code)
        self._commands.error = code

    def _autostart(self) -> None:
        work, recipe = self._work, self._settings.autostart_recipe
        if recipe is None or work.recipe or work.preparing:
            return
        if work.now_ms < self._autostart_at_ms:
            return
        if work.state is State.PREOPERATIONAL:
            work.apply(Occurrence.AUTOSTART)
        if work.state is State.INITIALIZED and work.apply(Occurrence.AUTOSTART):
            work.prepare(recipe)

    def _take_trigger(self) -> None:
        work = self._work
        rises = self._trigger.rises(work.inputs)
        if rises and self._can_take_part():
            self._trigger.accept()
            work.apply(Occurrence.TRIGGER)
        elif rises:
            work.miss_trigger()
        elif work.part is None or work.part.is_durable:
            self._trigger.release(work.inputs)

    def _can_take_part(self) -> bool:
        work = self._work
        return (
            work.state in _TAKES_PARTS
            and work.part is None
            and not self._is_closing
            and not work.results.is_full(work.inputs)
            and self._heartbeats.is_alive(work.now_ms)
        )

    def _image(self) -> StationImage:
        work, inputs = self._work, self._work.inputs
        enabled = inputs.trigger_enable
        return StationImage(
            ready=enabled and not inputs.trigger and self._can_take_part(),
            trigger_ack=self._trigger.ack,
            busy=enabled and work.part is not None,
            exposure_done=work.exposure_done,
            results_valid=work.results.valid,
            missed_trigger=work.missed_trigger,
            overrun=work.overrun,
            error=len(work.errors) > 0,
            heartbeat=self._heartbeats.count(work.now_ms),
            state=work.state,
            ack_command=self._commands.ack,
            command_result=self._commands.result,
            command_error=self._commands.error,
            error_code=work.errors.oldest,
            error_count=len(work.errors),
            recipe=work.recipe,
            buffered=len(work.results),
            result=work.results.fields,
        )

    def _wake_at_ms(self) -> float:
        work = self._work
        times = [
            self._heartbeats.changes_at_ms(work.now_ms),
            work.results.late_at_ms(self._settings.ack_timeout_ms),
        ]
        if work.part is not None and work.part.deadline_ms > work.now_ms:
            times.append(work.part.deadline_ms)
        if self._autostart_at_ms > work.now_ms:
            times.append(self._autostart_at_ms)
        return min(times)


def _done_if(done: bool) -> CommandResult:
    return CommandResult.DONE if done else CommandResult.REFUSED

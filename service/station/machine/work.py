"""The state, the part in work, the errors and the results; and what a transition does to them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from service.station.machine.events import Action, Alarm, Forget, PrepareRecipe, Settle, TakePart
from service.station.machine.faults import ErrorCode, LatchedErrors
from service.station.machine.images import PlcImage, ResultFields
from service.station.machine.part import PartInWork
from service.station.machine.results import Results
from service.station.machine.settings import MachineSettings
from service.station.machine.states import (
    Cause,
    Effect,
    Guard,
    Occurrence,
    State,
    find_transition,
)
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict

ABORTED = Outcome(Verdict.UNDECIDED, Reason.ABORTED)


@dataclass(slots=True)
class Counts:
    """Events since the machine was made."""

    triggers: int = 0
    """Parts that were started, by a Trigger or a command."""
    missed_triggers: int = 0
    overruns: int = 0


class Work:
    """Changes only by transitions of the table, by outcomes, and by the PLC's acknowledgements.

    `inputs` and `now_ms` are those of the step; `take_actions` returns what became due in it.
    """

    def __init__(
        self,
        settings: MachineSettings,
        first_job: int,
        restored: Iterable[tuple[int, ResultFields]],
    ) -> None:
        self.settings = settings
        self.state = State.PREOPERATIONAL
        self.recipe = 0
        self.preparing = 0
        self.part: PartInWork | None = None
        self.errors = LatchedErrors()
        self.results = Results(restored)
        self.exposure_done = self.missed_trigger = self.overrun = False
        self.counts = Counts()
        self.inputs = PlcImage()
        self.now_ms = 0.0
        self._next_job = first_job
        self._actions: list[Action] = []

    def take_actions(self) -> tuple[Action, ...]:
        """Return the actions since the last call."""
        actions = tuple(self._actions)
        self._actions.clear()
        return actions

    def apply(self, cause: Cause) -> bool:
        """Follow the transition of a cause; return False if the table has none."""
        transition = find_transition(self.state, cause, self._guards())
        if transition is None:
            return False
        self.state = transition.target
        self._do(transition.effect)
        return True

    def latch(self, code: ErrorCode) -> None:
        """Latch an error; a fault leads to the state Error."""
        if self.errors.latch(code):
            self._actions.append(Alarm(code))
        if code.is_fault and self.state is not State.ERROR:
            self.apply(Occurrence.FAULT)

    def miss_trigger(self) -> None:
        """Note a Trigger that came while no part could be taken."""
        self.missed_trigger = True
        self.counts.missed_triggers += 1
        self.latch(ErrorCode.MISSED_TRIGGER)

    def miss_acknowledgement(self) -> None:
        """Note a result that the PLC has not acknowledged in time."""
        self.overrun = True
        self.counts.overruns += 1
        self.latch(ErrorCode.OVERRUN)

    def acknowledge_error(self) -> bool:
        """Acknowledge the oldest error; return False if there is none."""
        code = self.errors.acknowledge()
        if code is ErrorCode.MISSED_TRIGGER:
            self.missed_trigger = False
        elif code is ErrorCode.OVERRUN:
            self.overrun = False
        if self.state is State.ERROR and not self.errors.have_fault:
            self.apply(Occurrence.RECOVERED)
        return code is not ErrorCode.NONE

    def decide(self, outcome: Outcome) -> None:
        """Give the part in work an outcome, and end it if the PLC may see it."""
        assert self.part is not None
        if not outcome.verdict.was_inspected and outcome.fail_safe is FailSafe.NONE:
            outcome = replace(outcome, fail_safe=self.settings.fail_safe)
        self._actions += self.part.decide(outcome)
        self.show_when_allowed()

    def trigger_is_durable(self) -> None:
        """Note that the spool has the trigger of the part in work."""
        assert self.part is not None
        self.part.is_durable = True
        self._actions += self.part.tell()
        self.show_when_allowed()

    def spool_failed(self, code: ErrorCode) -> None:
        """Forget a part whose trigger is not durable; any other one becomes UNDECIDED."""
        assert self.part is not None
        if self.part.is_durable:
            self.part.is_being_written = False
            self.decide(ABORTED)
        else:
            self._actions.append(Forget(self.part.job))
            self.part = None
        self.latch(code)

    def show_when_allowed(self) -> None:
        """Add the result of the part in work to the buffer, unless the spool has it not yet."""
        part = self.part
        if part is None or not part.may_be_shown:
            return
        assert part.outcome is not None
        self.part = None
        self.settle(*self.results.add(part.job, part.result(), self.inputs))
        self.apply(Occurrence.PART_ENDED)
        if part.outcome.fail_safe is FailSafe.STOP:
            self.latch(ErrorCode.STOPPED)

    def settle(self, *jobs: int) -> None:
        """Note that the PLC needs these results no more."""
        self._actions += [Settle(job) for job in jobs]

    def prepare(self, recipe: int) -> None:
        """Have a recipe prepared."""
        self.preparing = recipe
        self._actions.append(PrepareRecipe(recipe))

    def _guards(self) -> tuple[Guard, Guard]:
        return (
            Guard.BUSY if self.part else Guard.IDLE,
            Guard.RECIPE if self.recipe else Guard.NO_RECIPE,
        )

    def _do(self, effect: Effect) -> None:
        ends_part = effect in (Effect.END_PART, Effect.END_PART_AND_FORGET_RECIPE)
        if effect in (
            Effect.PREPARE_RECIPE, Effect.FORGET_RECIPE, Effect.END_PART_AND_FORGET_RECIPE
        ):  # fmt: skip
            self.recipe = 0
        if effect is Effect.START_PART:
            self._start_part()
        elif ends_part and self.part is not None:
            self.decide(ABORTED)

    def _start_part(self) -> None:
        assert self.part is None
        settings, inputs = self.settings, self.inputs
        deadline_ms = self.now_ms + settings.takt_ms - settings.reserve_ms
        self.exposure_done = False
        job = self._next_job
        self._next_job += 1
        self.counts.triggers += 1
        number, part_id = inputs.trigger_number, inputs.part_id
        self.part = PartInWork(job, self.recipe, number, part_id, deadline_ms)
        self._actions.append(TakePart(job, self.recipe, number, part_id, deadline_ms))

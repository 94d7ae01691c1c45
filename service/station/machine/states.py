"""The states, their causes, and the table of every transition.

States and their names follow OPC 40100-1 (Machine Vision). Commands have the numbers of MVTec
MERLIC. `diagram` draws this table for docs/station.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum


class State(IntEnum):
    """The station's state, as the PLC reads it."""

    PREOPERATIONAL = 1
    HALTED = 2
    ERROR = 3
    INITIALIZED = 4
    READY = 5
    SINGLE_EXECUTION = 6
    CONTINUOUS_EXECUTION = 7


class Command(IntEnum):
    """A command in the register ReqCommand."""

    NONE = 0
    SELECT_MODE_AUTOMATIC = 1
    PREPARE_RECIPE = 2
    UNPREPARE_RECIPE = 3
    START_SINGLE_JOB = 4
    START_CONTINUOUS = 5
    HALT = 6
    RESET = 7
    STOP = 8
    ABORT = 9
    DEQUEUE_RESULT = 10
    ACKNOWLEDGE_ERROR = 11


class CommandResult(IntEnum):
    """How the latest command ended, as the PLC reads it."""

    RUNNING = 0
    DONE = 1
    REFUSED = 2
    """The command is unknown, or the state does not allow it."""
    FAILED = 3
    """The command began and failed; the register of errors says why."""


class Occurrence(Enum):
    """A cause of a transition that is no command."""

    AUTOSTART = "autostart"
    TRIGGER = "Trigger"
    PART_ENDED = "part ended"
    RECIPE_PREPARED = "recipe prepared"
    FAULT = "fault"
    RECOVERED = "last error acknowledged"


class Guard(Enum):
    """A condition of a transition."""

    ALWAYS = ""
    IDLE = "no part in work"
    BUSY = "part in work"
    RECIPE = "recipe prepared"
    NO_RECIPE = "no recipe"


class Effect(Enum):
    """What a transition does besides changing the state."""

    NOTHING = ""
    PREPARE_RECIPE = "prepare the recipe"
    FORGET_RECIPE = "forget the recipe"
    START_PART = "start a part"
    END_PART = "end the part as UNDECIDED"
    END_PART_AND_FORGET_RECIPE = "end the part as UNDECIDED, forget the recipe"


Cause = Command | Occurrence


@dataclass(frozen=True, slots=True)
class Transition:
    """From `source` to `target`; `source` may be `target`, for the effect."""

    source: State
    cause: Cause
    target: State
    effect: Effect = Effect.NOTHING
    guard: Guard = Guard.ALWAYS


_EXECUTING = (State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION)
_NOT_ERROR = tuple(state for state in State if state is not State.ERROR)

_READY, _SINGLE, _CONTINUOUS = State.READY, *_EXECUTING
_INITIALIZED, _PREOPERATIONAL = State.INITIALIZED, State.PREOPERATIONAL

TRANSITIONS: tuple[Transition, ...] = (
    Transition(_PREOPERATIONAL, Command.SELECT_MODE_AUTOMATIC, _INITIALIZED),
    Transition(_PREOPERATIONAL, Occurrence.AUTOSTART, _INITIALIZED),
    Transition(_PREOPERATIONAL, Command.HALT, State.HALTED),
    Transition(_INITIALIZED, Command.PREPARE_RECIPE, _INITIALIZED, Effect.PREPARE_RECIPE),
    Transition(_INITIALIZED, Occurrence.AUTOSTART, _INITIALIZED, Effect.PREPARE_RECIPE),
    Transition(_INITIALIZED, Occurrence.RECIPE_PREPARED, _READY),
    Transition(_READY, Command.PREPARE_RECIPE, _INITIALIZED, Effect.PREPARE_RECIPE),
    Transition(_READY, Command.UNPREPARE_RECIPE, _INITIALIZED, Effect.FORGET_RECIPE),
    Transition(_READY, Command.START_SINGLE_JOB, _SINGLE, Effect.START_PART),
    Transition(_READY, Occurrence.TRIGGER, _SINGLE, Effect.START_PART),
    Transition(_READY, Command.START_CONTINUOUS, _CONTINUOUS),
    Transition(_CONTINUOUS, Occurrence.TRIGGER, _CONTINUOUS, Effect.START_PART),
    Transition(_CONTINUOUS, Occurrence.PART_ENDED, _CONTINUOUS),
    Transition(_CONTINUOUS, Command.STOP, _READY, guard=Guard.IDLE),
    Transition(_CONTINUOUS, Command.STOP, _SINGLE, guard=Guard.BUSY),
    Transition(_CONTINUOUS, Command.ABORT, _READY, Effect.END_PART),
    Transition(_SINGLE, Occurrence.PART_ENDED, _READY),
    Transition(_SINGLE, Command.STOP, _SINGLE),
    Transition(_SINGLE, Command.ABORT, _READY, Effect.END_PART),
    Transition(_INITIALIZED, Command.HALT, State.HALTED, Effect.FORGET_RECIPE),
    Transition(_READY, Command.HALT, State.HALTED, Effect.FORGET_RECIPE),
    *(
        Transition(state, Command.HALT, State.HALTED, Effect.END_PART_AND_FORGET_RECIPE)
        for state in _EXECUTING
    ),
    Transition(State.HALTED, Command.RESET, _PREOPERATIONAL),
    Transition(_INITIALIZED, Command.RESET, _PREOPERATIONAL, Effect.FORGET_RECIPE),
    Transition(_READY, Command.RESET, _PREOPERATIONAL, Effect.FORGET_RECIPE),
    *(
        Transition(state, Command.RESET, _PREOPERATIONAL, Effect.END_PART_AND_FORGET_RECIPE)
        for state in _EXECUTING
    ),
    *(Transition(state, Occurrence.FAULT, State.ERROR, Effect.END_PART) for state in _NOT_ERROR),
    Transition(State.ERROR, Occurrence.RECOVERED, _READY, guard=Guard.RECIPE),
    Transition(State.ERROR, Occurrence.RECOVERED, _PREOPERATIONAL, guard=Guard.NO_RECIPE),
)
"""Every transition. Commands that are not listed for a state are refused in it, except
DequeueResult and AcknowledgeError, which every state allows and which change no state."""


def find_transition(state: State, cause: Cause, guards: Iterable[Guard]) -> Transition | None:
    """Return the transition of a cause, if the state and the guards that hold allow one."""
    holding = {Guard.ALWAYS, *guards}
    for transition in TRANSITIONS:
        if (transition.source, transition.cause) == (state, cause) and transition.guard in holding:
            return transition
    return None

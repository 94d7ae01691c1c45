"""Shows the machine's state in the two state machines of OPC 40100-1, and reports transitions."""

from asyncua import ua

from service.station.machine.images import StationImage
from service.station.machine.states import Command, State
from service.station.plc.opcua.events import Events
from service.station.plc.opcua.vision import AUTOMATIC, STATE_MACHINE, Vision

_OUTER = {
    State.PREOPERATIONAL: "Preoperational",
    State.HALTED: "Halted",
    State.ERROR: "Error",
}
_INNER = {
    State.INITIALIZED: ("Initialized", 5056),
    State.READY: ("Ready", 5057),
    State.SINGLE_EXECUTION: ("SingleExecution", 5058),
    State.CONTINUOUS_EXECUTION: ("ContinuousExecution", 5059),
}
"""Name and node of a state of VisionAutomaticModeStateMachineType."""
_OPERATIONAL = "Operational"

TRANSITIONS = {
    "ContinuousExecutionToReadyAbort": 5072, "ContinuousExecutionToReadyAuto": 5073,
    "ContinuousExecutionToReadyStop": 5071, "InitializedToReadyAuto": 5061,
    "InitializedToReadyRecipe": 5060, "ReadyToContinuousExecution": 5066,
    "ReadyToInitializedAuto": 5063, "ReadyToInitializedRecipe": 5062,
    "ReadyToSingleExecution": 5064, "ReadyToSingleExecutionAuto": 5065,
    "SingleExecutionToReadyAbort": 5069, "SingleExecutionToReadyAuto": 5070,
    "SingleExecutionToReadyStop": 5068,
    "ErrorToOperationalAuto": 5255, "ErrorToPreoperationalAuto": 5040,
    "HaltedToPreoperational": 5037, "OperationalToErrorAuto": 5051,
    "OperationalToHalted": 5049, "OperationalToPreoperational": 5047,
    "PreoperationalToErrorAuto": 5034, "PreoperationalToHalted": 5032,
    "PreoperationalToInitialized": 5035, "PreoperationalToInitializedAuto": 5036,
}  # fmt: skip
"""Transitions of the NodeSet that the station has, with their nodes."""

_SUFFIXES: dict[int, str] = {
    Command.ABORT: "Abort",
    Command.STOP: "Stop",
    Command.PREPARE_RECIPE: "Recipe",
    Command.UNPREPARE_RECIPE: "Recipe",
}


def state_names(state: State) -> tuple[str, str]:
    """Return the names in VisionStateMachine and in its AutomaticModeStateMachine."""
    if state in _OUTER:
        return _OUTER[state], ""
    return _OPERATIONAL, _INNER[state][0]


def transition_name(source: State, target: State, command: int) -> str:
    """Return the NodeSet's transition; an empty text for one that the NodeSet does not have.

    `command` is the command in work, 0 for none.

    >>> transition_name(State.SINGLE_EXECUTION, State.READY, Command.ABORT)
    'SingleExecutionToReadyAbort'
    """
    before, after = state_names(source), state_names(target)
    if before[0] == after[0]:
        pairs = [f"{before[1]}To{after[1]}"]
    else:
        pairs = [f"{before[0]}To{name}" for name in reversed(after) if name]
    is_prepared_again = (source, command) == (State.READY, Command.PREPARE_RECIPE)
    endings = (
        ["Auto"] if not command or is_prepared_again else [_SUFFIXES.get(command, ""), "", "Auto"]
    )
    for pair in pairs:
        for ending in endings:
            if pair + ending in TRANSITIONS:
                return pair + ending
    return ""


class States:
    """Writes `CurrentState` of both machines, and sends StateChangedEvents."""

    def __init__(self, vision: Vision, events: Events) -> None:
        self._vision = vision
        self._events = events
        self._state: State | None = None

    async def show(self, image: StationImage) -> None:
        """Show the state of an image."""
        before, self._state = self._state, image.state
        if image.state is before:
            return
        outer, inner = state_names(image.state)
        await self._write(STATE_MACHINE, outer, self._vision.node_id(f"{STATE_MACHINE}.{outer}"))
        node = self._vision.type_id(_INNER[image.state][1]) if inner else None
        await self._write(AUTOMATIC, inner, node)
        if before is not None:
            await self._report(before, image)

    async def _report(self, before: State, image: StationImage) -> None:
        name = transition_name(before, image.state, image.ack_command)
        transition = self._vision.type_id(TRANSITIONS[name]) if name else ua.NodeId()
        is_inner = state_names(before)[0] == state_names(image.state)[0]
        source = self._vision.node_id(AUTOMATIC if is_inner else STATE_MACHINE)
        names = [state_names(state)[1 if is_inner else 0] for state in (before, image.state)]
        fields = {
            "FromState": _text(names[0]),
            "ToState": _text(names[1]),
            "Transition": _text(name),
            "Transition__Id": ua.Variant(transition, ua.VariantType.NodeId),
        }
        message = f"{before.name} to {image.state.name}"
        await self._events.send("StateChangedEventType", source, message, **fields)
        if image.state is State.ERROR:
            message = image.error_code.name
            await self._events.send("ErrorEventType", source, message, **fields)
        elif before is State.ERROR:
            await self._events.send("ErrorResolvedEventType", source, message, **fields)

    async def _write(self, machine: str, name: str, node: ua.NodeId | None) -> None:
        """Write a current state; without a node the machine is not active."""
        status = ua.StatusCodes.Good if node else ua.StatusCodes.BadStateNotActive
        path = f"{machine}.CurrentState"
        text = ua.LocalizedText(name)
        await self._vision.write(
            self._vision.node_id(path), text, ua.VariantType.LocalizedText, status
        )
        await self._vision.write(
            self._vision.node_id(f"{path}.Id"), node or ua.NodeId(), ua.VariantType.NodeId, status
        )


def _text(text: str) -> ua.Variant:
    return ua.Variant(ua.LocalizedText(text), ua.VariantType.LocalizedText)

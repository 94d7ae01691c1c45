"""Why a station takes no part now, in words."""

from service.station.machine.faults import ErrorCode
from service.station.machine.images import StationImage
from service.station.machine.results import CAPACITY
from service.station.machine.states import State

_NO_REASON = (ErrorCode.MISSED_TRIGGER, ErrorCode.OVERRUN)
"""Errors that keep no part away."""

_TAKES_PARTS = (State.READY, State.CONTINUOUS_EXECUTION)


class NotReady(Exception):
    """The station takes no part now; the message says why."""


class StationCloses(NotReady):
    """The station stops; the result of a part that it has taken comes after its next start."""

    def __init__(self) -> None:
        super().__init__("the station stops")


def not_ready_because(image: StationImage) -> str:
    """Say why a station takes no part."""
    if not image.online:
        return "the station stops"
    if image.busy:
        return "another part is in work"
    if image.state not in _TAKES_PARTS:
        state = image.state.name.lower().replace("_", " ")
        if image.error and image.error_code not in _NO_REASON:
            error = image.error_code.name.lower().replace("_", " ")
            return f"the station is in the state {state}: {error}"
        return f"the station is in the state {state}"
    if image.buffered >= CAPACITY:
        return f"{image.buffered} results wait to be kept"
    return "the station is not ready"

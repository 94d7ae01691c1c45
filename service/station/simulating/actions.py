"""The steps of a script, parsed; and `HELP`, which describes how they are written."""

from dataclasses import dataclass
from typing import TypeAlias

from service.station.plc.layout import Field
from service.station.simulating.values import Condition, Value

HELP = """\
set NAME[=VALUE] ...            write bits and registers, all in one request
clear NAME ...                  write 0
wait CONDITION ... [within TIME]    wait until all hold; fail after TIME (10 s)
expect CONDITION ...            fail if one does not hold now
pause TIME                      wait
command NAME [RECIPE] [expect RESULT] [within TIME]
                                give a command, wait for its end; fail if it is not Done (or RESULT)
trigger [PART_ID] [within TIME]     next TriggerNumber; hold Trigger until TriggerAck
ack [within TIME]               wait for ResultsValid, print the result, acknowledge it: set
                                ResultsAck, wait for ResultsValid off, clear ResultsAck
part [PART_ID] [within TIME]    trigger, then the result of this part; fail if it does not come
expose                          have the simulated camera take the part's image (--images)
heartbeat on|off                change PlcHeartbeat in each cycle (on), or stand still
disconnect [TIME]               cut the connection; the registers stay
restart [TIME]                  cut the connection and lose the registers, as in a power failure
show                            print all that the station shows, and all that the PLC writes

CONDITION   NAME, not NAME, NAME=VALUE, NAME!=VALUE: of what the station shows
VALUE       a number, 0 or 1, a text, or a code's name: State=Ready Verdict=OK Reason=Deadline
TIME        20ms, 1.5s, 2min
#           begins a comment
"""

WITHIN_S = 10.0
"""How long a step waits if it does not say."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write some fields in one request."""

    values: tuple[tuple[Field, Value], ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until all conditions hold."""

    conditions: tuple[Condition, ...]
    within_s: float


@dataclass(frozen=True, slots=True)
class Expect:
    """Fail unless all conditions hold now."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait some time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Give:
    """Give a command and wait for its end."""

    command: int
    recipe: int
    expected: int
    within_s: float


@dataclass(frozen=True, slots=True)
class TriggerPart:
    """Trigger a part; `awaits_result`: and wait for its result."""

    part_id: str | None
    awaits_result: bool
    within_s: float


@dataclass(frozen=True, slots=True)
class TakeResult:
    """Wait for a result, and acknowledge it."""

    within_s: float


@dataclass(frozen=True, slots=True)
class ExposePart:
    """Take the image of the latest part."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Let the PLC's heartbeat run, or stand still."""

    is_on: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Cut the connection for some time; a PLC that restarts `forgets` its registers."""

    seconds: float
    forgets: bool


@dataclass(frozen=True, slots=True)
class Show:
    """Print everything."""


Action: TypeAlias = (
    Write | Wait | Expect | Pause | Give | TriggerPart | TakeResult | ExposePart | Beat
    | Disconnect | Show
)  # fmt: skip

"""Everything that the PLC writes, and everything that it reads, as immutable images.

    image = PlcImage(trigger_enable=True, trigger=True, trigger_number=17, part_id="cell-17")

`service.station.plc.layout` gives each field its place in registers.
"""

from dataclasses import dataclass, field

from service.station.machine.faults import ErrorCode
from service.station.machine.states import CommandResult, State
from service.station.machine.verdicts import NO_SCORE, FailSafe, Reason, Verdict


@dataclass(frozen=True, slots=True)
class PlcImage:
    """Bits and registers that the PLC writes."""

    trigger_enable: bool = False
    trigger: bool = False
    results_ack: bool = False
    buffer_enable: bool = False
    clear_error: bool = False
    heartbeat: int = 0
    command: int = 0
    recipe: int = 0
    trigger_number: int = 0
    part_id: str = ""


@dataclass(frozen=True, slots=True)
class ResultFields:
    """The registers of one result; all of them change in one step."""

    verdict: Verdict = Verdict.NONE
    fail_safe: FailSafe = FailSafe.NONE
    reason: Reason = Reason.NONE
    score: int = NO_SCORE
    recipe: int = 0
    trigger_number: int = 0
    part_id: str = ""


@dataclass(frozen=True, slots=True)
class StationImage:
    """Bits and registers that the station writes."""

    online: bool = True
    ready: bool = False
    trigger_ack: bool = False
    busy: bool = False
    exposure_done: bool = False
    results_valid: bool = False
    missed_trigger: bool = False
    overrun: bool = False
    error: bool = False
    heartbeat: int = 0
    state: State = State.PREOPERATIONAL
    ack_command: int = 0
    command_result: CommandResult = CommandResult.RUNNING
    command_error: ErrorCode = field(default=ErrorCode.NONE, compare=False)
    """Why the latest command failed; it has no register."""
    error_code: ErrorCode = ErrorCode.NONE
    error_count: int = 0
    recipe: int = 0
    buffered: int = 0
    result: ResultFields = field(default_factory=ResultFields)

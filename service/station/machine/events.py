"""What the station's surroundings report to the machine, and what it asks of them.

`job` is the number of a part within the station's run; a report about a part that has ended is
ignored.
"""

from dataclasses import dataclass
from typing import TypeAlias

from service.station.machine.faults import ErrorCode
from service.station.machine.verdicts import Outcome

NO_JOB = 0
"""Of a report that belongs to no part."""


@dataclass(frozen=True, slots=True)
class TriggerDurable:
    """The spool has the trigger: a power cut cannot lose it any more."""

    job: int


@dataclass(frozen=True, slots=True)
class SpoolFailed:
    """The spool could not be written for a part; `code` is SPOOL_UNWRITABLE or SPOOL_FULL."""

    job: int
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Exposed:
    """All cameras have taken the part's images: the part may move."""

    job: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A part's outcome: the network's decision, or why there is none."""

    job: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ToldDurable:
    """The spool has the outcome that the line is told."""

    job: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RecipePrepared:
    """All categories of the recipe are warm."""

    recipe: int


@dataclass(frozen=True, slots=True)
class RecipeFailed:
    """The recipe cannot be inspected now."""

    recipe: int


Event: TypeAlias = (
    TriggerDurable | SpoolFailed | Exposed | Decided | ToldDurable | RecipePrepared | RecipeFailed
)


@dataclass(frozen=True, slots=True)
class TakePart:
    """Write the trigger to the spool, take the images, inspect them before `deadline_ms`.

    Report `TriggerDurable`, `Exposed` and `Decided`, or `SpoolFailed`.
    """

    job: int
    recipe: int
    trigger_number: int
    part_id: str
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Write to the spool that the line is told `outcome`; report `ToldDurable`."""

    job: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Settle:
    """Note in the spool that the PLC needs this result no more."""

    job: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The part was never taken: its trigger could not be made durable."""

    job: int


@dataclass(frozen=True, slots=True)
class PrepareRecipe:
    """Warm the recipe's categories; report `RecipePrepared` or `RecipeFailed`."""

    recipe: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """An error was latched."""

    code: ErrorCode


Action: TypeAlias = TakePart | Tell | Settle | Forget | PrepareRecipe | Alarm

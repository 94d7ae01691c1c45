"""How a part was handed in: its inspection id, its origin, and what the line was already told."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from model.inspection import Decision


class Origin(StrEnum):
    """Why a part is inspected.

    LINE: the line waits for the answer. TEST: a person or a check tries the service; never
    delivered, never counted. LATE: the line was told a decision before, and the part is inspected
    for the record; counts neither in drift nor in the NG rate.
    """

    LINE = "line"
    TEST = "test"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Told:
    """The decision that the line acted on, given by the client, and why."""

    decision: Decision
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """How a part was handed in; with `told`, its inspection cannot change what the line did.

    `inspection_id` is a UUIDv7, made by the client or by the door. The journal cannot have a
    `fresh` one, which the door has just made. `captured_at` has a time zone. `caller` is the name
    of the API key.
    """

    inspection_id: UUID
    origin: Origin = Origin.LINE
    captured_at: datetime | None = None
    told: Told | None = None
    caller: str = ""
    fresh: bool = False

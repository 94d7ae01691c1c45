"""Full reports of a station: for its pages, its metrics, and doors that show more than registers.

class Counter:
    def part_told(self, report: PartReport) -> None:
        self.verdicts[report.part.told.verdict] += 1
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from service.client import Decision, Result
from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.verdicts import Outcome
from service.station.parts import SpooledPart


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one inspection; `archived_as` is the decision that the service has on disk.

    `results` has one for each view; it is empty if the service gave no answer.
    """

    inspection_id: str
    outcome: Outcome
    archived_as: Decision | None = None
    results: tuple[Result, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class StageTimes:
    """Milliseconds since the station saw the trigger; None: the part did not get there."""

    durable_ms: float | None = None
    """The trigger is on disk: TriggerAck."""
    exposed_ms: float | None = None
    """All images are there: ExposureDone."""
    decided_ms: float | None = None
    """The service, or the lack of it, has decided."""
    told_ms: float | None = None
    """The PLC can read the result: ResultsValid, unless an earlier result waits."""

    def by_stage(self) -> dict[str, float | None]:
        """Return the times by the names of the stages."""
        return {
            "durable": self.durable_ms,
            "exposed": self.exposed_ms,
            "decided": self.decided_ms,
            "told": self.told_ms,
        }


STAGES = tuple(StageTimes().by_stage())


@dataclass(frozen=True, slots=True)
class PartReport:
    """A part whose outcome the line was told; `part.told` is not None.

    `answers` are those that came before: a part that was too late has none. `images` are the files
    by camera.
    """

    part: SpooledPart
    answers: tuple[Answer, ...]
    images: Mapping[str, bytes] = field(repr=False)
    times: StageTimes


@dataclass(frozen=True, slots=True)
class Warming:
    """A recipe whose categories are warmed ahead of time; `is_done` is None while it lasts."""

    recipe: int
    began_at: datetime
    is_done: bool | None = None
    text: str = ""
    """How it ended, for people."""


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What the schedule does: the next recipe with its time, and the latest one that was warmed."""

    next_at: datetime | None = None
    next_recipe: int | None = None
    latest: Warming | None = None


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a station is now, beside its image; counts are since its start."""

    plc_address: str
    plc_clients: int
    spool_parts: int
    spool_bytes: int
    triggers: int
    missed_triggers: int
    overruns: int
    errors: tuple[ErrorCode, ...]
    cameras_up: Mapping[str, bool | None]
    """By camera: whether it is connected; None if only an image can tell."""
    schedule: ScheduleState


class Watcher(Protocol):
    """Hears of everything, in the event loop; must not block."""

    def image_changed(self, image: StationImage, inputs: PlcImage) -> None:
        """Hear of a step: the PLC reads `image` now, and wrote `inputs`."""
        ...

    def part_told(self, report: PartReport) -> None:
        """Hear of a part with its final outcome, which is on the station's disk."""
        ...

    def alarm(self, code: ErrorCode) -> None:
        """Hear of an error that was latched."""
        ...

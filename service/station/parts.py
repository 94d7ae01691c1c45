"""A part in the spool, and its row in the database."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from service.station.machine.images import ResultFields
from service.station.machine.part import result_fields
from service.station.machine.verdicts import FailSafe, Outcome, Reason, Verdict


@dataclass(frozen=True, slots=True)
class PartInspection:
    """The inspection of those cameras of a part that share a category: its views."""

    category: str
    inspection_id: str
    cameras: tuple[str, ...]
    is_archived: bool = False


@dataclass(frozen=True, slots=True)
class SpooledPart:
    """A part since its trigger; `told` is None until the line is told something."""

    job: int
    recipe: int
    trigger_number: int
    part_id: str
    triggered_at: datetime
    inspections: tuple[PartInspection, ...]
    told: Outcome | None = None
    is_settled: bool = False
    """Whether the PLC needs the result no more."""

    @property
    def is_archived(self) -> bool:
        """Whether the service has answered `archived: true` for each inspection."""
        return all(inspection.is_archived for inspection in self.inspections)

    def result(self) -> ResultFields:
        """Return the registers that the PLC sees."""
        assert self.told is not None
        return result_fields(self.told, self.recipe, self.trigger_number, self.part_id)


def row_of(part: SpooledPart) -> tuple[Any, ...]:
    """Return a part's row."""
    return (
        part.job,
        part.recipe,
        part.trigger_number,
        part.part_id,
        part.triggered_at.isoformat(),
        inspections_text(part),
        told_text(part),
        int(part.is_settled),
    )


def inspections_text(part: SpooledPart) -> str:
    """Return the column `inspections`."""
    return json.dumps([asdict(inspection) for inspection in part.inspections])


def told_text(part: SpooledPart) -> str | None:
    """Return the column `told`."""
    told = part.told
    if told is None:
        return None
    return json.dumps([told.verdict, told.reason, told.fail_safe, told.score])


def part_of(row: tuple[Any, ...]) -> SpooledPart:
    """Return the part of a row."""
    job, recipe, number, part_id, triggered_at, inspections, told, is_settled = row
    return SpooledPart(
        job=job,
        recipe=recipe,
        trigger_number=number,
        part_id=part_id,
        triggered_at=datetime.fromisoformat(triggered_at),
        inspections=tuple(
            PartInspection(**{**values, "cameras": tuple(values["cameras"])})
            for values in json.loads(inspections)
        ),
        told=None if told is None else _outcome(*json.loads(told)),
        is_settled=bool(is_settled),
    )


def _outcome(verdict: int, reason: int, fail_safe: int, score: float | None) -> Outcome:
    return Outcome(Verdict(verdict), Reason(reason), FailSafe(fail_safe), score)

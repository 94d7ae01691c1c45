"""One result as the structures of OPC 40100-1, and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import ua

from service.station.machine.images import ResultFields
from service.station.machine.verdicts import NO_SCORE, SCORE_STEPS, FailSafe, Reason, Verdict
from service.station.plc.opcua.configurations import Model, configuration_id
from service.station.plc.opcua.jobs import Job
from service.station.plc.opcua.recipes import Recipe
from service.station.plc.opcua.vision import structure
from service.station.reports import Answer, PartReport, StageTimes

COMPLETED, ABORTED, FAILED = 1, 3, 4
"""Values of ResultStateDataType."""
_ABORTED_REASONS = (Reason.ABORTED, Reason.STATION_RESTARTED)


@dataclass(frozen=True, slots=True)
class Inspected:
    """One inspection of a part: its archive id, and what the service answered."""

    inspection_id: str
    category: str
    cameras: tuple[str, ...]
    verdict: str | None = None
    score: float | None = None
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class PartResult:
    """A result; `is_restored` is one of an earlier run, whose ids and inspections are lost."""

    job: Job
    recipe: Recipe
    verdict: Verdict
    fail_safe: FailSafe
    reason: Reason
    score: float | None
    created_at: datetime
    triggered_at: datetime | None = None
    inspections: tuple[Inspected, ...] = ()
    times: StageTimes = field(default_factory=StageTimes)
    is_restored: bool = False

    @property
    def state(self) -> int:
        """The ResultState."""
        if self.verdict.was_inspected:
            return COMPLETED
        return ABORTED if self.reason in _ABORTED_REASONS else FAILED

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that inspected the part, each once."""
        models = (inspected.model for inspected in self.inspections)
        return tuple(dict.fromkeys(model for model in models if model is not None))

    def json(self, station: str) -> str:
        """Return the ResultContent."""
        job = self.job
        inspections = [
            {**asdict(inspected), "cameras": list(inspected.cameras)}
            for inspected in self.inspections
        ]
        content = {
            "station": station,
            "result_id": job.result_id,
            "job_id": job.job_id,
            "part_id": job.part_id,
            "meas_id": job.meas_id,
            "product_id": job.product_id,
            "trigger_number": job.trigger_number,
            "recipe": {"number": self.recipe.number, "name": self.recipe.name},
            "verdict": self.verdict.name,
            "fail_safe": self.fail_safe.name,
            "reason": self.reason.name,
            "score": self.score,
            "triggered_at": self.triggered_at.isoformat() if self.triggered_at else None,
            "inspections": inspections,
            "times_ms": asdict(self.times),
            "restored": self.is_restored,
        }
        return json.dumps(content, ensure_ascii=False)

    def members(self, station: str) -> dict[str, Any]:
        """Return the members of a ResultDataType."""
        job = self.job
        return {
            "ResultId": structure("ResultIdDataType", Id=job.result_id),
            "HasTransferableDataOnFile": False,
            "IsPartial": False,
            "IsSimulated": False,
            "ResultState": self.state,
            "MeasId": structure("MeasIdDataType", Id=job.meas_id),
            "PartId": structure("PartIdDataType", Id=job.part_id),
            "ExternalRecipeId": self.recipe.external_id(),
            "InternalRecipeId": self.recipe.internal_id(),
            "ProductId": structure("ProductIdDataType", Id=job.product_id),
            "ExternalConfigurationId": configuration_id(self.models),
            "InternalConfigurationId": configuration_id(self.models),
            "JobId": structure("JobIdDataType", Id=job.job_id),
            "CreationTime": self.created_at,
            "ProcessingTimes": self._processing_times(),
            "ResultContent": [ua.Variant(self.json(station), ua.VariantType.String)],
        }

    def _processing_times(self) -> Any:  # noqa: ANN401
        times, start = self.times, self.triggered_at or self.created_at
        exposed_ms, decided_ms = times.exposed_ms, times.decided_ms
        return structure(
            "ProcessingTimesDataType",
            StartTime=start,
            EndTime=start + timedelta(milliseconds=times.told_ms or 0),
            AcquisitionDuration=exposed_ms,
            ProcessingDuration=(
                None if exposed_ms is None or decided_ms is None else decided_ms - exposed_ms
            ),
        )


def result_of_report(
    report: PartReport, job: Job, recipe: Recipe, sha256s: Mapping[tuple[str, str], str]
) -> PartResult:
    """Return a full result; `sha256s` has the SHA-256 of models by name and version."""
    told = report.part.told
    assert told is not None
    answers = {answer.inspection_id: answer for answer in report.answers}
    return PartResult(
        job=job,
        recipe=recipe,
        verdict=told.verdict,
        fail_safe=told.fail_safe,
        reason=told.reason,
        score=told.score,
        created_at=datetime.now(UTC),
        triggered_at=report.part.triggered_at,
        inspections=tuple(
            _inspected(
                Inspected(inspection.inspection_id, inspection.category, inspection.cameras),
                answers.get(inspection.inspection_id),
                sha256s,
            )
            for inspection in report.part.inspections
        ),
        times=report.times,
    )


def result_of_registers(
    fields: ResultFields, job: Job, recipe: Recipe, *, is_restored: bool
) -> PartResult:
    """Return a result of which only the registers are there."""
    return PartResult(
        job=job,
        recipe=recipe,
        verdict=fields.verdict,
        fail_safe=fields.fail_safe,
        reason=fields.reason,
        score=None if fields.score == NO_SCORE else fields.score / SCORE_STEPS,
        created_at=datetime.now(UTC),
        is_restored=is_restored,
    )


def _inspected(
    inspected: Inspected, answer: Answer | None, sha256s: Mapping[tuple[str, str], str]
) -> Inspected:
    if answer is None:
        return inspected
    models = [result.model for result in answer.results if result.model is not None]
    model = None
    if models:
        key = models[0].name, models[0].version
        model = Model(*key, sha256s.get(key))
    outcome = answer.outcome
    return replace(inspected, verdict=outcome.verdict.name, score=outcome.score, model=model)

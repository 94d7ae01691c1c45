"""The answers of `/detect` and `/detect/batch`."""

from collections import Counter
from typing import Any, Self

from pydantic import Field, JsonValue

from model.inspection import Decision
from service.api.schemas import Answer, ModelAnswer, RegionAnswer, SizeAnswer
from service.http.decision_headers import fail_safe
from service.http.problems import Problem
from service.inspection.options import PartFields
from service.inspection.result import Inspected, PartResult, combined


class ImageAnswer(Answer):
    """The result of one image; an image with an `error` was not inspected and is UNDECIDED."""

    filename: str | None = Field(None, description="as posted")
    part_id: str | None = Field(None, description="as posted")
    station: str | None = Field(None, description="as posted")
    job_id: str | None = Field(None, description="as posted")
    meta: dict[str, JsonValue] | None = Field(None, description="as posted")
    category: str | None = Field(description="kind of part; null if a batch has none for the image")
    decision: Decision = Field(
        description="NG: raw_score > threshold; REVIEW: a person decides; UNDECIDED: not inspected"
    )
    fail_safe: str | None = Field(
        None, description="how to treat an UNDECIDED part, as configured: NG, REVIEW or STOP"
    )
    score: float | None = Field(None, description="0 to 1; 0.5 at the threshold")
    raw_score: float | None = Field(None, description="in the network's units")
    threshold: float | None = Field(None, description="of raw_score")
    regions: list[RegionAnswer] = Field(default=[], description="most anomalous first")
    model: ModelAnswer | None = Field(None, description="the checkpoint that inspected the image")
    engine: str | None = Field(
        None, description='library and precision that computed it: "torch, float32"; see `/models`'
    )
    timings_ms: dict[str, float] = Field(
        default={},
        description="decode, preprocess, queue, encoder, decoder, anomaly_map, decision, heatmap "
        "(if requested) and total; network stages are timed per batch",
    )
    image: SizeAnswer | None = Field(None, description="the upright input image")
    heatmap: str | None = Field(
        None, description="base64 of a PNG in the geometry of the upright input image"
    )
    error: Problem | None = Field(None, description="why the image was not inspected")

    @classmethod
    def of(cls, filename: str | None, inspected: Inspected, **more: Any) -> Self:  # noqa: ANN401
        """Describe an inspected image; `more` has fields of a class that has more."""
        finding, (width, height) = inspected.finding, inspected.size
        # From plain values at once: with a call for each model within it took 16 us instead of 11.
        return cls.model_validate(
            {
                "filename": filename,
                **_fields_of(inspected.part),
                "category": inspected.category,
                "decision": finding.decision,
                "score": finding.score,
                "raw_score": finding.raw_score,
                "threshold": finding.threshold,
                "regions": [RegionAnswer.values_of(region) for region in finding.regions],
                "model": ModelAnswer.values_of(inspected.checkpoint),
                "engine": finding.engine,
                "timings_ms": {name: round(ms, 3) for name, ms in inspected.timings_ms.items()},
                "image": {"width": width, "height": height},
                "heatmap": inspected.picture,
                **more,
            }
        )

    @classmethod
    def failed(
        cls,
        filename: str | None,
        category: str | None,
        part: PartFields,
        error: Problem,
        **more: Any,  # noqa: ANN401
    ) -> Self:
        """Describe an image that was not inspected; `more` as in `of`."""
        return cls(
            filename=filename,
            **_fields_of(part),
            category=category,
            decision=Decision.UNDECIDED,
            fail_safe=fail_safe(),
            error=error,
            **more,
        )


def _fields_of(part: PartFields) -> dict[str, Any]:
    return {
        "part_id": part.part_id,
        "station": part.station,
        "job_id": part.job_id,
        "meta": part.meta,
    }


def _inspection_id() -> Any:  # noqa: ANN401 - as pydantic's Field
    return Field(description="the id under which the part is recorded, a UUIDv7")


def _archived() -> Any:  # noqa: ANN401
    return Field(
        None,
        description="true: the inspection is on disk; false: it could not be written; null: there "
        "is no archive, or nobody waited for it",
    )


def _replayed() -> Any:  # noqa: ANN401
    return Field(False, description="true: the decision of an earlier request with this id")


class PartAnswer(ImageAnswer):
    """The result of one part of a batch."""

    inspection_id: str = _inspection_id()
    archived: bool | None = _archived()
    replayed: bool = _replayed()


class DetectAnswer(Answer):
    """One result per posted image."""

    decision: Decision = Field(
        description="of all images as views of one part: NG if any is NG, else UNDECIDED if any "
        "is, else REVIEW if any is, else OK; equal to the header X-Decision"
    )
    fail_safe: str | None = Field(
        None, description="how to treat an UNDECIDED part, as configured: NG, REVIEW or STOP"
    )
    inspection_id: str = _inspection_id()
    archived: bool | None = _archived()
    replayed: bool = _replayed()
    results: list[ImageAnswer] = Field(description="in the posted order")

    @classmethod
    def of(cls, results: list[ImageAnswer], result: PartResult) -> "DetectAnswer":
        """Answer with a part's result; an UNDECIDED part gets the fail-safe."""
        safe = fail_safe() if result.decision is Decision.UNDECIDED else None
        return cls(decision=result.decision, fail_safe=safe, results=results, **record_of(result))


class CountsAnswer(Answer):
    """Number of images by decision."""

    OK: int = Field(0, description="good parts")
    NG: int = Field(0, description="bad parts")
    REVIEW: int = Field(0, description="a person decides")
    UNDECIDED: int = Field(0, description="not inspected; each has an `error`")


class BatchAnswer(Answer):
    """One result per posted image, independent of the others."""

    decision: Decision = Field(
        description="NG if any image is NG, else UNDECIDED if any is, else REVIEW, else OK"
    )
    fail_safe: str | None = Field(
        None, description="how to treat UNDECIDED parts, as configured: NG, REVIEW or STOP"
    )
    counts: CountsAnswer = Field(description="all images by decision")
    results: list[PartAnswer] = Field(description="in the posted order")

    @classmethod
    def of(cls, results: list[PartAnswer]) -> "BatchAnswer":
        """Combine and count the results."""
        counts = CountsAnswer(**Counter(result.decision.value for result in results))
        safe = fail_safe() if counts.UNDECIDED else None
        decision = combined(result.decision for result in results)
        return cls(decision=decision, fail_safe=safe, counts=counts, results=results)


def record_of(result: PartResult) -> dict[str, Any]:
    """Return the fields that say how a part was recorded."""
    return {
        "inspection_id": str(result.inspection_id),
        "archived": result.archived,
        "replayed": result.replayed,
    }

"""The answers of `/detect` and `/detect/batch`."""

from collections import Counter

from pydantic import Field, JsonValue

from model.inspection import Decision
from service.api.schemas import Answer, ModelAnswer, RegionAnswer, SizeAnswer
from service.http.decision_headers import fail_safe
from service.http.problems import Problem
from service.inspection.options import PartFields
from service.inspection.result import Inspected, combined


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
    def of(cls, filename: str | None, inspected: Inspected) -> "ImageAnswer":
        """Describe an inspected image."""
        finding, (width, height) = inspected.finding, inspected.size
        return cls(
            filename=filename,
            **inspected.part.model_dump(),
            category=inspected.route.category,
            decision=finding.decision,
            score=finding.score,
            raw_score=finding.raw_score,
            threshold=finding.threshold,
            regions=[RegionAnswer.of(region) for region in finding.regions],
            model=ModelAnswer.of(inspected.route),
            timings_ms={stage: round(ms, 3) for stage, ms in inspected.timings_ms.items()},
            image=SizeAnswer(width=width, height=height),
            heatmap=inspected.picture,
        )

    @classmethod
    def failed(
        cls, filename: str | None, category: str | None, part: PartFields, error: Problem
    ) -> "ImageAnswer":
        """Describe an image that was not inspected."""
        return cls(
            filename=filename,
            **part.model_dump(),
            category=category,
            decision=Decision.UNDECIDED,
            fail_safe=fail_safe(),
            error=error,
        )


class DetectAnswer(Answer):
    """One result per posted image."""

    decision: Decision = Field(
        description="of all images as views of one part: NG if any is NG, else UNDECIDED if any "
        "is, else REVIEW if any is, else OK; equal to the header X-Decision"
    )
    fail_safe: str | None = Field(
        None, description="how to treat an UNDECIDED part, as configured: NG, REVIEW or STOP"
    )
    results: list[ImageAnswer] = Field(description="in the posted order")

    @classmethod
    def of(cls, results: list[ImageAnswer]) -> "DetectAnswer":
        """Combine the results; an UNDECIDED part gets the fail-safe."""
        decision = combined(result.decision for result in results)
        safe = fail_safe() if decision is Decision.UNDECIDED else None
        return cls(decision=decision, fail_safe=safe, results=results)


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
    results: list[ImageAnswer] = Field(description="in the posted order")

    @classmethod
    def of(cls, results: list[ImageAnswer]) -> "BatchAnswer":
        """Combine and count the results."""
        counts = CountsAnswer(**Counter(result.decision.value for result in results))
        safe = fail_safe() if counts.UNDECIDED else None
        decision = combined(result.decision for result in results)
        return cls(decision=decision, fail_safe=safe, counts=counts, results=results)

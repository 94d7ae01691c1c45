"""What the service answers, as OpenAPI shows it."""

import json
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from model.inspection import Decision, Region
from service.channel import Finding
from service.errors import Problem
from service.registry import Refusal, Route


class HeatmapKind(StrEnum):
    """Which picture of the anomaly map to answer with."""

    NONE = "none"
    MAP = "map"
    OVERLAY = "overlay"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


MAX_META_BYTES = 4096
_Name = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class PartFields(BaseModel):
    """What a client says of its part; it comes back with the answer, and decides nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part_id: _Name | None = Field(None, description="the client's name of the part")
    station: _Name | None = Field(None, description="where on the line the image was taken")
    job_id: _Name | None = Field(None, description="the client's job, order or lot")
    meta: dict[str, JsonValue] | None = Field(
        None, description=f"any JSON object of at most {MAX_META_BYTES} bytes"
    )

    @field_validator("meta")
    @classmethod
    def _check_size(cls, meta: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        try:
            size = len(json.dumps(meta, allow_nan=False).encode())
        except ValueError as error:
            raise ValueError("meta may hold finite numbers only") from error
        if size > MAX_META_BYTES:
            raise ValueError(f"meta may have {MAX_META_BYTES} bytes as JSON, got {size}")
        return meta


class PointAnswer(_Answer):
    """A pixel of the input image; (0, 0) is its upper left corner."""

    x: int
    y: int


class RegionAnswer(_Answer):
    """A connected patch of anomalous pixels, in pixels of the upright input image."""

    x: int = Field(description="left edge of the box")
    y: int = Field(description="upper edge of the box")
    width: int
    height: int
    area_px: int
    peak: PointAnswer = Field(description="the most anomalous pixel")
    peak_score: float = Field(description="its score; 0.5 is the pixel threshold")

    @classmethod
    def of(cls, region: Region) -> "RegionAnswer":
        """Write a region."""
        (x, y, width, height), (peak_x, peak_y) = region.box, region.peak
        return cls(
            x=x, y=y, width=width, height=height, area_px=region.area_px,
            peak=PointAnswer(x=peak_x, y=peak_y), peak_score=region.peak_score,
        )  # fmt: skip


class ModelAnswer(_Answer):
    """The checkpoint that inspected."""

    name: str
    version: str

    @classmethod
    def of(cls, route: Route) -> "ModelAnswer":
        """Name the checkpoint of a route."""
        return cls(name=route.checkpoint.name, version=route.checkpoint.version)


class SizeAnswer(_Answer):
    """Width and height in pixels."""

    width: int
    height: int


class ImageAnswer(_Answer):
    """What was found in one image, or, in `error`, why it was not inspected.

    An image with an `error` has no decision: it counts neither as OK nor as NG.
    """

    filename: str | None = Field(None, description="as posted")
    part_id: str | None = Field(None, description="as posted")
    station: str | None = Field(None, description="as posted")
    job_id: str | None = Field(None, description="as posted")
    meta: dict[str, JsonValue] | None = Field(None, description="as posted")
    category: str
    decision: Decision | None = Field(None, description="NG means raw_score > threshold")
    score: float | None = Field(None, description="0 to 1, 0.5 at the threshold")
    raw_score: float | None = Field(None, description="in the network's own units")
    threshold: float | None = Field(None, description="of raw_score")
    regions: list[RegionAnswer] = Field(default=[], description="most anomalous first")
    model: ModelAnswer | None = None
    timings_ms: dict[str, float] = Field(
        default={},
        description="decode, preprocess, queue, encoder, decoder, anomaly_map, decision, heatmap "
        "(when asked for) and total; those of the network are of the batch the image was part of",
    )
    image: SizeAnswer | None = Field(None, description="the upright input image")
    heatmap: str | None = Field(
        None, description="base64 of a PNG in the geometry of the upright input image"
    )
    error: Problem | None = None

    @classmethod
    def of(
        cls,
        filename: str | None,
        route: Route,
        size: tuple[int, int],
        finding: Finding,
        heatmap: str | None,
        timings_ms: dict[str, float],
        part: PartFields | None = None,
    ) -> "ImageAnswer":
        """Write a finding; `size` is (width, height)."""
        return cls(
            filename=filename,
            **(part.model_dump() if part else {}),
            category=route.category,
            decision=finding.decision,
            score=finding.score,
            raw_score=finding.raw_score,
            threshold=finding.threshold,
            regions=[RegionAnswer.of(region) for region in finding.regions],
            model=ModelAnswer.of(route),
            timings_ms={stage: round(ms, 3) for stage, ms in timings_ms.items()},
            image=SizeAnswer(width=size[0], height=size[1]),
            heatmap=heatmap,
        )


class DetectAnswer(_Answer):
    """One result per posted image, in the order posted."""

    results: list[ImageAnswer]


class CategoryAnswer(_Answer):
    """A category that can be inspected."""

    category: str
    model: ModelAnswer
    threshold: float = Field(description="of the raw score: above it a part is NG")
    image_size: SizeAnswer = Field(description="of the network's input; any other is resized to it")
    promise: str = Field(description="what the threshold promises about good parts")
    license: str | None
    notice: str | None

    @classmethod
    def of(cls, route: Route) -> "CategoryAnswer":
        """Describe a route."""
        size = route.image_size
        return cls(
            category=route.category,
            model=ModelAnswer.of(route),
            threshold=route.calibration.image_threshold,
            image_size=SizeAnswer(width=size.width, height=size.height),
            promise=route.promise,
            license=route.license,
            notice=route.notice,
        )


class RefusalAnswer(_Answer):
    """A checkpoint in the store that cannot be served."""

    model: ModelAnswer
    reason: str

    @classmethod
    def of(cls, refusal: Refusal) -> "RefusalAnswer":
        """Describe a refused checkpoint."""
        key = refusal.checkpoint
        return cls(model=ModelAnswer(name=key.name, version=key.version), reason=refusal.reason)


class CategoriesAnswer(_Answer):
    """What can be inspected, and which checkpoints cannot be served."""

    categories: list[CategoryAnswer]
    refused: list[RefusalAnswer]


class LiveAnswer(_Answer):
    """The process answers."""

    live: bool


class WorkerAnswer(_Answer):
    """One worker."""

    name: str
    state: str
    reason: str
    waiting: int = Field(description="images in its queue")


class ReadyAnswer(_Answer):
    """Whether images can be inspected, and why not."""

    ready: bool
    reasons: list[str]
    workers: list[WorkerAnswer]
    refused: list[RefusalAnswer]

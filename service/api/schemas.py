"""Parts of answers that several doors share: checkpoints, categories, refusals, regions."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from model.checkpoints.key import CheckpointKey
from model.inspection import Region
from service.versions.registry import Refusal, Route


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True)


class ModelAnswer(Answer):
    """The checkpoint that inspected the image."""

    name: str = Field(description="the checkpoint's name in the store")
    version: str = Field(description="a number that grows with each checkpoint of this name")

    @classmethod
    def of(cls, checkpoint: CheckpointKey) -> "ModelAnswer":
        """Name a checkpoint."""
        return cls(**cls.values_of(checkpoint))

    @staticmethod
    def values_of(checkpoint: CheckpointKey) -> dict[str, str]:
        """Return the values by field."""
        return {"name": checkpoint.name, "version": checkpoint.version}


class SizeAnswer(Answer):
    """Width and height in pixels."""

    width: int = Field(description="in pixels")
    height: int = Field(description="in pixels")


class PointAnswer(Answer):
    """A pixel of the input image; (0, 0) is its upper left corner."""

    x: int = Field(description="pixels from the left edge")
    y: int = Field(description="pixels from the upper edge")


class RegionAnswer(Answer):
    """A connected patch of anomalous pixels, in pixels of the upright input image."""

    x: int = Field(description="left edge of the box")
    y: int = Field(description="upper edge of the box")
    width: int = Field(description="of the box")
    height: int = Field(description="of the box")
    area_px: int = Field(description="anomalous pixels in the box")
    peak: PointAnswer = Field(description="the most anomalous pixel")
    peak_score: float = Field(description="its score; 0.5 is the pixel threshold")

    @staticmethod
    def values_of(region: Region) -> dict[str, Any]:
        """Return the values by field."""
        (x, y, width, height), (peak_x, peak_y) = region.box, region.peak
        return {
            "x": x, "y": y, "width": width, "height": height, "area_px": region.area_px,
            "peak": {"x": peak_x, "y": peak_y}, "peak_score": region.peak_score,
        }  # fmt: skip


class CategoryAnswer(Answer):
    """A category that can be inspected."""

    category: str = Field(description="the name to use in requests")
    model: ModelAnswer = Field(description="the checkpoint that serves it")
    also_claimed_by: list[ModelAnswer] = Field(
        description="checkpoints with other names that could serve it too"
    )
    contested: bool = Field(
        description="true: other checkpoints claim it and no route was set, so the name that "
        "claimed it first serves it"
    )
    threshold: float = Field(description="parts with a raw score above it are NG")
    review_threshold: float | None = Field(
        description="parts above it, but not above the threshold, are REVIEW; null: no REVIEW"
    )
    image_size: SizeAnswer = Field(description="the network's input; images are resized to it")
    promise: str = Field(description="the threshold's promise about good parts")
    license: str | None = Field(description="the checkpoint's license, stated by its author")
    notice: str | None = Field(description="the checkpoint's notice, stated by its author")

    @classmethod
    def of(
        cls, route: Route, others: Iterable[CheckpointKey] = (), *, contested: bool = False
    ) -> "CategoryAnswer":
        """Describe a route and the other checkpoints that claim its category."""
        size = route.image_size
        return cls(
            category=route.category,
            model=ModelAnswer.of(route.checkpoint),
            also_claimed_by=[ModelAnswer.of(key) for key in others],
            contested=contested,
            threshold=route.calibration.image_threshold,
            review_threshold=route.calibration.review_threshold,
            image_size=SizeAnswer(width=size.width, height=size.height),
            promise=route.promise,
            license=route.license,
            notice=route.notice,
        )


class RefusalAnswer(Answer):
    """A checkpoint in the store that cannot be served."""

    model: ModelAnswer = Field(description="the checkpoint")
    reason: str = Field(description="why it cannot be served")

    @classmethod
    def of(cls, refusal: Refusal) -> "RefusalAnswer":
        """Describe a refused checkpoint."""
        return cls(model=ModelAnswer.of(refusal.checkpoint), reason=refusal.reason)


class CategoriesAnswer(Answer):
    """The categories that can be inspected, and the checkpoints that cannot be served."""

    categories: list[CategoryAnswer] = Field(description="sorted by name")
    refused: list[RefusalAnswer] = Field(description="the checkpoints that cannot be served")

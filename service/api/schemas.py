"""Parts of answers that several doors write: checkpoints, categories, and what is refused."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from model.checkpoints.key import CheckpointKey
from service.versions.registry import Refusal, Route


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True)


class ModelAnswer(Answer):
    """The checkpoint that inspected."""

    name: str = Field(description="of the checkpoint in the store")
    version: str = Field(description="a number that grows with each checkpoint of the name")

    @classmethod
    def of(cls, route: Route) -> "ModelAnswer":
        """Name the checkpoint of a route."""
        return cls(name=route.checkpoint.name, version=route.checkpoint.version)


class SizeAnswer(Answer):
    """Width and height in pixels."""

    width: int = Field(description="in pixels")
    height: int = Field(description="in pixels")


class CategoryAnswer(Answer):
    """A category that can be inspected."""

    category: str = Field(description="its name, as requests give it")
    model: ModelAnswer = Field(description="the checkpoint that serves it")
    also_claimed_by: list[ModelAnswer] = Field(
        description="checkpoints of other names that could serve it, too"
    )
    contested: bool = Field(
        description="true: others claim it, and nobody has decided by a route which one serves; "
        "it stays with the name that claimed it first"
    )
    threshold: float = Field(description="of the raw score: above it a part is NG")
    review_threshold: float | None = Field(
        description="above it, and not above the threshold, a part is REVIEW; null: none is"
    )
    image_size: SizeAnswer = Field(description="of the network's input; any other is resized to it")
    promise: str = Field(description="what the threshold promises about good parts")
    license: str | None = Field(description="of the checkpoint, as its maker says")
    notice: str | None = Field(description="of the checkpoint, as its maker says")

    @classmethod
    def of(
        cls, route: Route, others: Iterable[CheckpointKey] = (), *, contested: bool = False
    ) -> "CategoryAnswer":
        """Describe a route, and the checkpoints of other names that claim its category."""
        size = route.image_size
        return cls(
            category=route.category,
            model=ModelAnswer.of(route),
            also_claimed_by=[ModelAnswer(name=key.name, version=key.version) for key in others],
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
        key = refusal.checkpoint
        return cls(model=ModelAnswer(name=key.name, version=key.version), reason=refusal.reason)


class CategoriesAnswer(Answer):
    """What can be inspected, and which checkpoints cannot be served."""

    categories: list[CategoryAnswer] = Field(description="in order of name")
    refused: list[RefusalAnswer] = Field(description="the checkpoints that cannot be served")

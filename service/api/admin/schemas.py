"""What the routes of those who run the service take and answer, as OpenAPI shows it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model.checkpoints.key import CheckpointKey
from service.inspection.options import Strict
from service.inspection.shadow import Comparison
from service.versions.assignment import Assignment, Canary, Role
from service.versions.catalogue import Version
from service.versions.state import AuditRecord
from service.versions.thresholds import RawScore, Threshold
from service.workers.pipe.messages import Resident

_LINE = r"^[^\x00-\x1f\x7f]*$"
Who = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_LINE),
    Field(description="who asks for the change; kept with it"),
]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=_LINE),
    Field(description="why; kept with it"),
]


class _Body(Strict, allow_inf_nan=False): ...


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelRef(_Body):
    """A version of a checkpoint, by name."""

    name: str = Field(max_length=100, examples=["solar"], description="in the store")
    version: str = Field(max_length=9, examples=["2"], description="under that name")

    @property
    def key(self) -> CheckpointKey:
        """The key to look it up by."""
        return CheckpointKey(self.name, self.version)

    @classmethod
    def of(cls, key: CheckpointKey) -> "ModelRef":
        """Name a checkpoint."""
        return cls(name=key.name, version=key.version)


class CanaryRef(ModelRef):
    """A version that answers a share of the requests."""

    share: float = Field(gt=0, lt=1, description="of the requests, above 0 and below 1")


class RouteBody(_Body):
    """Which versions are to serve a category; what is left out does not serve any more."""

    stable: ModelRef = Field(description="answers every request that no canary does")
    canary: CanaryRef | None = Field(None, description="answers a share of the requests")
    shadow: ModelRef | None = Field(None, description="scores live images and never answers")
    keep_previous: bool = Field(False, description="leave what served before in memory")
    who: Who = "not said"
    reason: Reason = "not said"

    def assignment(self) -> Assignment:
        """Return what is asked for."""
        canary = self.canary and Canary(checkpoint=self.canary.key, share=self.canary.share)
        shadow = self.shadow and self.shadow.key
        return Assignment(stable=self.stable.key, canary=canary, shadow=shadow)


class RouteAnswer(_Answer):
    """Which versions serve a category."""

    category: str = Field(description="what the versions serve")
    stable: ModelRef = Field(description="answers every request that no canary does")
    canary: CanaryRef | None = Field(description="answers a share of the requests; null: none does")
    shadow: ModelRef | None = Field(description="scores live images, never answers; null: none")

    @classmethod
    def of(cls, category: str, assignment: Assignment) -> "RouteAnswer":
        """Describe a route."""
        draw, shadow = assignment.canary, assignment.shadow
        canary = draw and CanaryRef(**vars(ModelRef.of(draw.checkpoint)), share=draw.share)
        stable = ModelRef.of(assignment.stable)
        seen = shadow and ModelRef.of(shadow)
        return cls(category=category, stable=stable, canary=canary, shadow=seen)


class ThresholdBody(_Body):
    """A threshold to decide by, who asks for it and why."""

    threshold: RawScore = Field(description="of the raw score: above it a part is NG")
    review_threshold: RawScore | None = Field(
        None, description="above it, and not above `threshold`, a part is REVIEW; null: none is"
    )
    who: Who
    reason: Reason
    model: ModelRef | None = Field(
        None, description="the version it is for; by default the stable one"
    )


class ThresholdsAnswer(_Answer):
    """A pair of thresholds of the raw score."""

    threshold: float = Field(description="above it a part is NG")
    review_threshold: float | None = Field(description="above it, not NG: REVIEW; null: none is")


class SetAnswer(_Answer):
    """By whom a threshold was set, when and why."""

    who: str = Field(description="as the request said")
    at: datetime = Field(description="when it took effect")
    reason: str = Field(description="as the request said")

    @classmethod
    def of(cls, threshold: Threshold) -> "SetAnswer":
        """Describe a threshold that was set by hand."""
        return cls(who=threshold.who, at=threshold.at, reason=threshold.reason)


class ChangeAnswer(_Answer):
    """One change of a threshold."""

    at: datetime = Field(description="when it took effect")
    who: str = Field(description="as the request said")
    reason: str = Field(description="as the request said")
    caller: str = Field(description="the name of the API key, or an address without one")
    model: str | None = Field(description="name/version")
    before: dict[str, Any] | None = Field(serialization_alias="from", description="held until then")
    after: dict[str, Any] | None = Field(serialization_alias="to", description="held from then on")
    request_id: str = Field(description="of the request that made it")

    @classmethod
    def of(cls, record: AuditRecord) -> "ChangeAnswer":
        """Describe a change."""
        return cls(**record.model_dump(exclude={"action", "category"}))


class ThresholdAnswer(_Answer):
    """What a category is decided by, and how that came about."""

    category: str = Field(description="what is decided")
    model: ModelRef = Field(description="the version that the thresholds are of")
    threshold: float = Field(description="in force: above it a part is NG")
    review_threshold: float | None = Field(description="in force; above it, not NG: REVIEW")
    calibrated: ThresholdsAnswer = Field(description="what DELETE goes back to")
    set_by: SetAnswer | None = Field(description="null: the calibrated thresholds are in force")
    promise: str = Field(description="what the threshold promises about good parts")
    history: list[ChangeAnswer] = Field(description="latest first, of every version")


class ServesAnswer(_Answer):
    """What a version does for a category."""

    category: str = Field(description="what it serves")
    role: Role = Field(description="stable, canary or shadow")
    share: float | None = Field(description="of the requests, for a canary")


class LatencyAnswer(_Answer):
    """How long a batch takes: `image_ms` for each image and `batch_ms` besides."""

    image_ms: float = Field(description="for each image")
    batch_ms: float = Field(description="for the batch")


class ResidentAnswer(_Answer):
    """A version in a worker's memory."""

    worker: str = Field(description="its device, and a number where there are several on it")
    bytes: int = Field(description="of its weights, without an encoder that it may share")
    load_seconds: float = Field(description="reading, verifying, warming up, golden images")
    latency: LatencyAnswer | None = Field(description="of its batches; null: not measured")
    golden_difference: float | None = Field(
        description="of its golden images' raw scores from those saved, as a share of what is "
        "tolerated, 0 to 1; null without golden images"
    )
    last_used_s: float = Field(description="seconds since it last computed")

    @classmethod
    def of(cls, worker: str, resident: Resident, now: float) -> "ResidentAnswer":
        """Describe it; `now` on the clock of the event loop."""
        line = resident.latency_line
        latency = line and LatencyAnswer(image_ms=1000 * line.a_s, batch_ms=1000 * line.b_s)
        return cls(
            worker=worker,
            bytes=resident.bytes,
            load_seconds=resident.loaded_s,
            latency=latency,
            golden_difference=resident.golden,
            last_used_s=max(0.0, now - resident.last_used),
        )


class VersionAnswer(_Answer):
    """One version in the store."""

    name: str = Field(description="in the store")
    version: str = Field(description="under that name")
    state: str = Field(description="available, loading, ready, failed, draining or unloaded")
    reason: str | None = Field(description="why it cannot be used, or why its last load failed")
    created: str | None = Field(description="when it was saved, where that can be read")
    unfinished: str | None = Field(description="how far its interrupted training came; null: ended")
    categories: list[str] = Field(description="what it is calibrated for")
    contested: list[str] = Field(description="others claim these, and none is decided by a route")
    serves: list[ServesAnswer] = Field(description="what it does, for which category")
    golden_images: int = Field(description="0: nothing compares this device with the training's")
    workers: list[ResidentAnswer] = Field(description="those that have it in memory")

    @classmethod
    def of(
        cls,
        version: Version,
        state: str,
        reason: str | None,
        serves: list[ServesAnswer],
        contested: list[str],
        residents: Mapping[str, Resident],
        now: float,
    ) -> "VersionAnswer":
        """Describe a version; `now` on the clock of the event loop."""
        return cls(
            name=version.key.name,
            version=version.key.version,
            state=state,
            reason=reason,
            created=version.created or None,
            unfinished=version.unfinished,
            categories=list(version.categories),
            contested=contested,
            serves=serves,
            golden_images=version.golden_images,
            workers=[ResidentAnswer.of(w, r, now) for w, r in sorted(residents.items())],
        )


class DecisionChange(_Answer):
    """Parts that one version decided otherwise than another."""

    answered: str = Field(description="the decision that was given")
    shadow: str = Field(description="what the shadow would have decided")
    parts: int = Field(description="how many")


class ShadowAnswer(_Answer):
    """How a shadow compares with what was answered, since the service started."""

    category: str = Field(description="what both score")
    answered_by: ModelRef = Field(description="the version that answered")
    shadow: ModelRef = Field(description="the version that looked on")
    since: datetime = Field(description="of the first such part")
    compared: int = Field(description="parts that both scored")
    left_out: int = Field(description="parts that it was too busy for")
    failed: int = Field(description="parts that the shadow could not score")
    changes: list[DecisionChange] = Field(description="decisions that would have been others")
    mean_difference: float | None = Field(description="between the scores from 0 to 1")
    largest_difference: float = Field(description="between the scores of one part")

    @classmethod
    def of(cls, comparison: Comparison) -> "ShadowAnswer":
        """Describe a comparison."""
        return cls(
            category=comparison.category,
            answered_by=ModelRef.of(comparison.answered_by),
            shadow=ModelRef.of(comparison.shadow),
            since=comparison.since,
            compared=comparison.compared,
            left_out=comparison.left_out,
            failed=comparison.failed,
            changes=[
                DecisionChange(answered=answered, shadow=shadow, parts=parts)
                for (answered, shadow), parts in sorted(comparison.changes.items())
            ],
            mean_difference=comparison.mean_difference,
            largest_difference=comparison.largest_difference,
        )


class ModelsAnswer(_Answer):
    """Every version in the store, and what shadows have found."""

    models: list[VersionAnswer] = Field(description="by name, then oldest first")
    shadows: list[ShadowAnswer] = Field(description="by category")


class RescanAnswer(_Answer):
    """What came into the store; nothing serves otherwise than before."""

    new: list[ModelRef] = Field(description="versions that were not there at the last look")

"""The bodies and answers of the operators' routes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model.checkpoints.key import CheckpointKey
from service.api.admin.residents import ResidentAnswer
from service.inspection.options import Strict
from service.inspection.shadow import ShadowComparison
from service.versions.assignment import Assignment, Canary, Role
from service.versions.catalogue import Version
from service.versions.state import AuditRecord
from service.versions.thresholds import RawScore, Threshold
from service.workers.pipe.messages import Resident

_LINE = r"^[^\x00-\x1f\x7f]*$"
Who = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_LINE),
    Field(description="who makes the change; stored in the audit log"),
]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=_LINE),
    Field(description="reason of the change; stored in the audit log"),
]


class _Body(Strict, allow_inf_nan=False): ...


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelRef(_Body):
    """A version of a checkpoint."""

    name: str = Field(max_length=100, examples=["solar"], description="its name in the store")
    version: str = Field(max_length=9, examples=["2"], description="its version of that name")

    @property
    def key(self) -> CheckpointKey:
        """The checkpoint's key."""
        return CheckpointKey(self.name, self.version)

    @classmethod
    def of(cls, key: CheckpointKey) -> "ModelRef":
        """Return the reference to a checkpoint."""
        return cls(name=key.name, version=key.version)


class CanaryRef(ModelRef):
    """A version that answers a share of the requests."""

    share: float = Field(gt=0, lt=1, description="fraction of the requests, above 0 and below 1")


class RouteBody(_Body):
    """The versions that shall serve a category; all others stop serving it."""

    stable: ModelRef = Field(description="answers all requests that no canary answers")
    canary: CanaryRef | None = Field(None, description="answers a share of the requests")
    shadow: ModelRef | None = Field(None, description="scores live images, but never answers")
    keep_previous: bool = Field(False, description="keep the previous versions in memory")
    who: Who = "not said"
    reason: Reason = "not said"

    def assignment(self) -> Assignment:
        """Return the requested assignment."""
        canary = self.canary and Canary(checkpoint=self.canary.key, share=self.canary.share)
        shadow = self.shadow and self.shadow.key
        return Assignment(stable=self.stable.key, canary=canary, shadow=shadow)


class RouteAnswer(_Answer):
    """Which versions serve a category."""

    category: str = Field(description="the served category")
    stable: ModelRef = Field(description="answers all requests that no canary answers")
    canary: CanaryRef | None = Field(description="answers a share of the requests; null: no canary")
    shadow: ModelRef | None = Field(description="scores images, never answers; null: no shadow")

    @classmethod
    def of(cls, category: str, assignment: Assignment) -> "RouteAnswer":
        """Describe a route."""
        draw, shadow = assignment.canary, assignment.shadow
        canary = draw and CanaryRef(**vars(ModelRef.of(draw.checkpoint)), share=draw.share)
        stable = ModelRef.of(assignment.stable)
        shadow_ref = shadow and ModelRef.of(shadow)
        return cls(category=category, stable=stable, canary=canary, shadow=shadow_ref)


class ThresholdBody(_Body):
    """A new threshold, with its author and reason."""

    threshold: RawScore = Field(description="parts with a raw score above it are NG")
    review_threshold: RawScore | None = Field(
        None, description="parts above it, but not above `threshold`, are REVIEW; null: no REVIEW"
    )
    who: Who
    reason: Reason
    model: ModelRef | None = Field(
        None, description="the version to set it for; by default the stable one"
    )


class ThresholdsAnswer(_Answer):
    """A pair of thresholds of the raw score."""

    threshold: float = Field(description="parts above it are NG")
    review_threshold: float | None = Field(description="above it, not NG: REVIEW; null: no REVIEW")


class SetAnswer(_Answer):
    """Who set a threshold, when and why."""

    who: str = Field(description="from the request")
    at: datetime = Field(description="when it took effect")
    reason: str = Field(description="from the request")

    @classmethod
    def of(cls, threshold: Threshold) -> "SetAnswer":
        """Describe a threshold that was set by hand."""
        return cls(who=threshold.who, at=threshold.at, reason=threshold.reason)


class ChangeAnswer(_Answer):
    """One change of a threshold."""

    at: datetime = Field(description="when it took effect")
    who: str = Field(description="from the request")
    reason: str = Field(description="from the request")
    caller: str = Field(description="the API key's name, or the address without a key")
    model: str | None = Field(description="name/version")
    before: dict[str, Any] | None = Field(serialization_alias="from", description="the old value")
    after: dict[str, Any] | None = Field(serialization_alias="to", description="the new value")
    request_id: str = Field(description="the request that made the change")

    @classmethod
    def of(cls, record: AuditRecord) -> "ChangeAnswer":
        """Describe a change."""
        return cls(**record.model_dump(exclude={"action", "category", "subject", "refused"}))


class ThresholdAnswer(_Answer):
    """A category's thresholds and their changes."""

    category: str = Field(description="the category")
    model: ModelRef = Field(description="the version that the thresholds belong to")
    threshold: float = Field(description="the current one: parts above it are NG")
    review_threshold: float | None = Field(description="the current one; null: no REVIEW")
    calibrated: ThresholdsAnswer = Field(description="the thresholds that DELETE restores")
    set_by: SetAnswer | None = Field(description="null: the calibrated thresholds are used")
    promise: str = Field(description="the threshold's promise about good parts")
    history: list[ChangeAnswer] = Field(description="changes of all versions, latest first")


class ServesAnswer(_Answer):
    """A version's role for a category."""

    category: str = Field(description="the served category")
    role: Role = Field(description="stable, canary or shadow")
    share: float | None = Field(description="a canary's fraction of the requests")


class VersionAnswer(_Answer):
    """One version in the store."""

    name: str = Field(description="its name in the store")
    version: str = Field(description="its version of that name")
    state: str = Field(description="available, loading, ready, failed, draining or unloaded")
    reason: str | None = Field(description="why it cannot be used, or why its last load failed")
    created: str | None = Field(description="when it was saved; null: unreadable")
    unfinished: str | None = Field(description="progress of an interrupted training; null: ended")
    categories: list[str] = Field(description="the categories that it is calibrated for")
    contested: list[str] = Field(description="categories without a route that others claim too")
    serves: list[ServesAnswer] = Field(description="its roles by category")
    golden_images: int = Field(description="0: its scores on this device cannot be checked")
    workers: list[ResidentAnswer] = Field(description="workers that have it in memory")
    replicas: int | None = Field(description="workers of a cluster that should; null: not set")

    @classmethod
    def of(
        cls,
        version: Version,
        state: str,
        reason: str | None,
        serves: list[ServesAnswer],
        contested: list[str],
        residents: Mapping[str, Resident],
        replicas: int | None,
        now: float,
    ) -> "VersionAnswer":
        """Describe a version; `now` is by the event loop's clock."""
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
            replicas=replicas,
        )


class DecisionChange(_Answer):
    """The number of parts with different decisions of two versions."""

    answered: str = Field(description="the decision in the answer")
    shadow: str = Field(description="the shadow's decision")
    parts: int = Field(description="number of parts")


class ShadowAnswer(_Answer):
    """A shadow compared with the answers since the service started."""

    category: str = Field(description="the category that both score")
    answered_by: ModelRef = Field(description="the version that answered")
    shadow: ModelRef = Field(description="the shadow version")
    since: datetime = Field(description="time of the first compared part")
    compared: int = Field(description="parts that both scored")
    left_out: int = Field(description="parts that the shadow skipped because it was busy")
    failed: int = Field(description="parts that the shadow could not score")
    changes: list[DecisionChange] = Field(description="parts with different decisions")
    mean_difference: float | None = Field(description="mean difference of the scores, 0 to 1")
    largest_difference: float = Field(description="largest difference of a part's scores")

    @classmethod
    def of(cls, comparison: ShadowComparison) -> "ShadowAnswer":
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
    """All versions in the store, and the comparisons of shadows."""

    models: list[VersionAnswer] = Field(description="sorted by name, then oldest first")
    shadows: list[ShadowAnswer] = Field(description="one for each category with a shadow")


class RescanAnswer(_Answer):
    """New versions in the store; they do not serve until they are routed."""

    new: list[ModelRef] = Field(description="versions added since the last scan")

"""The answers of `/inspections`, and the bodies of verdicts and holds."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, JsonValue, StringConstraints

from model.inspection import Decision
from service.api.schemas import Answer, RegionAnswer
from service.archive.records import (
    DecisionSource,
    HoldRecord,
    InspectionRecord,
    MediaState,
    Verdict,
    VerdictRecord,
    ViewRecord,
)
from service.archive.searching.archive import Found
from service.archive.searching.search import Page
from service.inspection.options import Strict
from service.inspection.submission import Origin

_LINE = r"^[^\x00-\x1f\x7f]*$"
_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Who = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_LINE),
]


class VerdictBody(Strict):
    """A person's verdict on a part."""

    verdict: Verdict = Field(
        description="`good`, `defective` or `unsure`; `withdrawn`: none stands any more"
    )
    defect_class: Annotated[str, StringConstraints(max_length=100, pattern=_LINE)] | None = Field(
        None, description="the kind of defect, e.g. the name of a folder for training"
    )
    comment: Annotated[str, StringConstraints(max_length=2000, pattern=_LINES)] | None = Field(
        None, description="any text"
    )
    who: Who | None = Field(None, description="who decided; stored with the name of the API key")


class HoldBody(Strict):
    """A hold, or its release."""

    is_held: bool = Field(
        strict=True, description="true: never deleted by the retention; false: released"
    )
    reason: Annotated[str, StringConstraints(max_length=500, pattern=_LINES)] | None = Field(
        None, description="any text"
    )
    who: Who | None = Field(None, description="who decided; stored with the name of the API key")


class CheckpointAnswer(Answer):
    """The checkpoint that inspected the part."""

    name: str = Field(description="its name in the store")
    version: str | None = Field(description="its version of that name")
    sha256: str | None = Field(description="SHA-256 of its weights")
    calibration_version: str | None = Field(description="the thresholds that it had")


class MediumAnswer(Answer):
    """The file of an image or raw map."""

    state: MediaState = Field(
        description="`kept`; `not-sampled`: `KEEP_IMAGES` left it out; `no-space`: the disk was "
        "full; `deleted`: by the retention or a purge; `missing`: there never was one"
    )
    sha256: str | None = Field(description="SHA-256 of the file")
    deleted_at: datetime | None = Field(description="when it was deleted")


class ViewRow(Answer):
    """One image of a part."""

    view: int = Field(description="its number, from 0")
    filename: str | None = Field(description="as posted")
    width: int | None = Field(description="of the upright image, in pixels")
    height: int | None = Field(description="of the upright image, in pixels")
    image_bytes: int | None = Field(description="size of the posted file")
    image: MediumAnswer = Field(description="the posted file")
    map: MediumAnswer = Field(description="the anomaly map, from which heatmaps are drawn")
    found: Decision | None = Field(description="the network's decision; null: not inspected")
    score: float | None = Field(description="0 to 1; 0.5 at the threshold")
    raw_score: float | None = Field(description="in the network's units")
    threshold: float | None = Field(description="of raw_score")
    engine: str | None = Field(
        None,
        description='library and precision that computed it: "torch, float32"; null: not inspected '
        "or recorded by an earlier release",
    )
    problem: str | None = Field(description="why it was not inspected: the last word of `type`")


class ViewAnswer(ViewRow):
    """One image of a part, with its regions."""

    regions: list[RegionAnswer] = Field(description="most anomalous first")
    timings_ms: dict[str, float] | None = Field(description="as answered")
    problem_detail: str | None = Field(description="the problem's `detail`")


class InspectionRow(Answer):
    """One part, as found by a search."""

    inspection_id: UUID = Field(description="UUIDv7")
    node: str = Field(description="the service that inspected or recorded it")
    received_at: datetime = Field(description="when the service received the request")
    captured_at: datetime | None = Field(description="when the image was taken, as posted")
    origin: Origin = Field(description="line, test or late")
    category: str = Field(description="kind of part")
    part_id: str | None = Field(description="as posted")
    station: str | None = Field(description="as posted")
    job_id: str | None = Field(description="as posted")
    meta: dict[str, JsonValue] | None = Field(description="as posted")
    told: Decision = Field(description="the decision that the line acted on")
    source: DecisionSource = Field(
        description="of `told`: network, fail-safe (not inspected), client (reported)"
    )
    told_reason: str | None = Field(description="why, as the client reported it")
    fail_safe: str | None = Field(description="how an UNDECIDED part was to be treated")
    found: Decision | None = Field(description="the network's decision; null: not inspected")
    score: float | None = Field(description="0 to 1; 0.5 at the threshold")
    raw_score: float | None = Field(description="in the network's units")
    threshold: float | None = Field(description="of raw_score, when it was inspected")
    review_threshold: float | None = Field(description="of raw_score; null: no REVIEW")
    model: CheckpointAnswer | None = Field(description="the checkpoint; null: not inspected")
    request_id: str = Field(description="X-Request-ID")
    caller: str = Field(description="the API key's name, or the address without a key")
    problem: str | None = Field(description="why it was not inspected: the last word of `type`")
    problem_detail: str | None = Field(description="the problem's `detail`")
    repeats: int = Field(description="refusals of a flood that this one stands for, else 1")
    verdict: Verdict | None = Field(description="the newest verdict; null: none, or withdrawn")
    is_held: bool = Field(description="whether a hold keeps it from being deleted")
    views: list[ViewRow] = Field(description="its images, as posted")

    @classmethod
    def of(cls, record: InspectionRecord) -> "InspectionRow":
        """Describe an inspection."""
        views = [ViewRow(**_view(number, view)) for number, view in enumerate(record.views)]
        return cls(**_inspection(record), views=views)


class PageAnswer(Answer):
    """A page of inspections."""

    inspections: list[InspectionRow] = Field(description="newest first")
    cursor: str | None = Field(description="for the next, older page; null: this is the last one")

    @classmethod
    def of(cls, page: Page, cursor: str | None) -> "PageAnswer":
        """Describe a page."""
        rows = [InspectionRow.of(record) for record in page.inspections]
        return cls(inspections=rows, cursor=cursor)


class VerdictAnswer(Answer):
    """A verdict."""

    verdict: Verdict = Field(
        description="`good`, `defective` or `unsure`; `withdrawn`: none stands any more"
    )
    defect_class: str | None = Field(description="from the request")
    comment: str | None = Field(description="from the request")
    author: str = Field(description="`who (key)`, or the key's name")
    at: datetime = Field(description="when it was given")


class HoldAnswer(Answer):
    """A hold, or its release."""

    is_held: bool = Field(description="false: released")
    reason: str | None = Field(description="from the request")
    author: str = Field(description="`who (key)`, or the key's name")
    at: datetime = Field(description="when it was given")


class InspectionAnswer(InspectionRow):
    """One part, with its regions, verdicts and holds."""

    views: list[ViewAnswer] = Field(description="its images, as posted")  # type: ignore[assignment]
    verdicts: list[VerdictAnswer] = Field(description="newest first; the newest stands")
    holds: list[HoldAnswer] = Field(description="newest first; the newest stands")

    @classmethod
    def of_found(cls, found: Found) -> "InspectionAnswer":
        """Describe an inspection with its judgements."""
        record = found.inspection
        return cls(
            **_inspection(record),
            views=[_view_answer(number, view) for number, view in enumerate(record.views)],
            verdicts=list(map(_verdict, found.verdicts)),
            holds=list(map(_hold, found.holds)),
        )


_OWN = set(InspectionRow.model_fields) - {"model", "views"}
_OWN_OF_VIEW = set(ViewRow.model_fields) - {"view", "image", "map"}


def _inspection(record: InspectionRecord) -> dict[str, Any]:
    model = record.model_name and CheckpointAnswer(
        name=record.model_name,
        version=record.model_version,
        sha256=record.model_sha256,
        calibration_version=record.calibration_version,
    )
    return {**_fields(record, _OWN), "model": model or None}


def _view(number: int, view: ViewRecord) -> dict[str, Any]:
    image = MediumAnswer(
        state=view.image_state, sha256=view.image_sha256, deleted_at=view.image_deleted_at
    )
    raw_map = MediumAnswer(
        state=view.map_state, sha256=view.map_sha256, deleted_at=view.map_deleted_at
    )
    return {**_fields(view, _OWN_OF_VIEW), "view": number, "image": image, "map": raw_map}


def _view_answer(number: int, view: ViewRecord) -> ViewAnswer:
    return ViewAnswer(
        **_view(number, view),
        regions=[RegionAnswer.model_validate(region) for region in view.regions],
        timings_ms=None if view.timings_ms is None else dict(view.timings_ms),
        problem_detail=view.problem_detail,
    )


def _verdict(record: VerdictRecord) -> VerdictAnswer:
    return VerdictAnswer(**_fields(record, VerdictAnswer.model_fields))


def _hold(record: HoldRecord) -> HoldAnswer:
    return HoldAnswer(**_fields(record, HoldAnswer.model_fields))


def _fields(record: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}

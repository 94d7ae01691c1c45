"""The message: one JSON schema with a version in it, the same for every sink.

    message = MessageMaker(site="Plant 2", node="line-1").make(event, inspection)
    body = message.to_json()

`docs/message.schema.json` is made from these models; `python -m
tests.service.delivery.message_schema` writes it. A new member keeps the version, which rises when a
member changes its meaning or goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from model.inspection import Decision
from service.archive.records import (
    DecisionSource,
    Event,
    EventKind,
    InspectionRecord,
    MediaState,
    Verdict,
    ViewRecord,
)
from service.inspection.submission import Origin

MESSAGE_VERSION: Literal[1] = 1


class Part(BaseModel):
    """Base of the message's parts; a repeated message equals the first, unless the part changed."""

    model_config = ConfigDict(frozen=True)


class ToldMessage(Part):
    """The decision that the line acted on."""

    decision: Decision
    source: DecisionSource = Field(description="where the decision came from")
    reason: str | None = Field(description="why, as the client gave it")


class ModelMessage(Part):
    """The checkpoint that inspected the part."""

    name: str
    version: str | None
    sha256: str | None = Field(description="SHA-256 of the weights")
    calibration_version: str | None


class ProblemMessage(Part):
    """Why a part or a view was not inspected."""

    type: str = Field(description="slug of the problem type, as in the answer")
    detail: str | None


class MediumMessage(Part):
    """An image or a raw map; `state` says whether the archive has the file."""

    sha256: str | None
    state: MediaState


class ViewMessage(Part):
    """One image of the part."""

    filename: str | None
    width: int | None = Field(description="pixels")
    height: int | None = Field(description="pixels")
    image_bytes: int | None
    image: MediumMessage
    map: MediumMessage = Field(description="the raw anomaly map")
    found: Decision | None
    score: float | None
    raw_score: float | None
    threshold: float | None
    regions: list[dict[str, Any]] = Field(description="as in the answer of POST /detect")
    timings_ms: dict[str, float] | None
    engine: str | None = Field(
        None, description='library and precision that computed it, such as "torch, float32"'
    )
    problem: ProblemMessage | None


class VerdictMessage(Part):
    """A person's verdict; the newest of an inspection stands."""

    verdict: Verdict = Field(description="withdrawn: none stands any more")
    defect_class: str | None
    comment: str | None
    author: str
    at: datetime


class HoldMessage(Part):
    """A hold, or its release."""

    is_held: bool
    reason: str | None
    author: str
    at: datetime


class Message(Part):
    """One event of a service's journal, with its inspection as it was when it was sent.

    Delivered at least once: drop a message whose `event_id` you have. For each node and station,
    messages first arrive in the order of `number`. Members may be added without a new version.
    """

    message_version: Literal[1] = MESSAGE_VERSION
    event_id: UUID = Field(description="unique; of kind inspection: the inspection id")
    kind: EventKind = Field(
        description="inspection: a new one; update: what was told or found has changed; verdict, "
        "hold: the members of that name have it"
    )
    inspection_id: UUID
    site: str
    node: str = Field(description="the service whose journal has the event")
    number: int = Field(description="the event's number in the node's journal; it only rises")
    station_number: int = Field(description="the station's own count of inspections on this node")
    at: datetime = Field(description="when the event was journaled")
    origin: Origin
    station: str | None
    category: str | None = Field(
        description="null, like all members about the inspection, if the node does not have it"
    )
    part_id: str | None
    job_id: str | None
    meta: dict[str, Any] | None
    received_at: datetime | None
    captured_at: datetime | None
    told: ToldMessage | None = Field(description="what the line acted on; count and sort by this")
    fail_safe: str | None = Field(description="for an UNDECIDED part: NG, REVIEW or STOP")
    found: Decision | None = Field(description="what the network decided; null: not inspected")
    score: float | None = Field(description="0 to 1, 0.5 at the threshold")
    raw_score: float | None
    threshold: float | None
    review_threshold: float | None
    model: ModelMessage | None
    problem: ProblemMessage | None
    repeats: int = Field(
        description="refusals of a flood that this one stands for, itself included"
    )
    request_id: str | None
    caller: str | None = Field(description="name of the API key")
    views: list[ViewMessage]
    verdict: VerdictMessage | None
    hold: HoldMessage | None

    def to_json(self) -> bytes:
        """Return the message as UTF-8 in one line."""
        return self.model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class Parcel:
    """An event, its inspection, and the message's bytes: what a sink delivers."""

    event: Event
    inspection: InspectionRecord | None
    body: bytes


@dataclass(frozen=True, slots=True)
class MessageMaker:
    """Makes messages of one node of a site."""

    site: str
    node: str

    def pack(self, event: Event, inspection: InspectionRecord | None) -> Parcel:
        """Return the event with its message."""
        return Parcel(event, inspection, self.make(event, inspection).to_json())

    def make(self, event: Event, inspection: InspectionRecord | None) -> Message:
        """Return the message of an event; without its inspection those members are null."""
        payload = event.payload or {}
        return Message(
            event_id=event.event_id,
            kind=event.kind,
            inspection_id=event.inspection_id,
            site=self.site,
            node=self.node,
            number=event.number,
            station_number=event.station_number,
            at=event.at,
            origin=event.origin,
            station=event.station,
            verdict=_of_payload(VerdictMessage, payload, event.kind is EventKind.VERDICT),
            hold=_of_payload(HoldMessage, payload, event.kind is EventKind.HOLD),
            **(_NO_INSPECTION if inspection is None else _members_of(inspection)),
        )


_NO_INSPECTION: Mapping[str, Any] = {
    **dict.fromkeys(
        [
            "category", "part_id", "job_id", "meta", "received_at", "captured_at", "told",
            "fail_safe", "found", "score", "raw_score", "threshold", "review_threshold", "model",
            "problem", "request_id", "caller",
        ]
    ),
    "repeats": 1,
    "views": [],
}  # fmt: skip


def _members_of(inspection: InspectionRecord) -> dict[str, Any]:
    record = inspection
    model = record.model_name and ModelMessage(
        name=record.model_name,
        version=record.model_version,
        sha256=record.model_sha256,
        calibration_version=record.calibration_version,
    )
    same = (
        "category", "part_id", "job_id", "received_at", "captured_at", "fail_safe", "found",
        "score", "raw_score", "threshold", "review_threshold", "repeats", "request_id", "caller",
    )  # fmt: skip
    return {
        **{name: getattr(record, name) for name in same},
        "meta": dict(record.meta) if record.meta is not None else None,
        "told": ToldMessage(decision=record.told, source=record.source, reason=record.told_reason),
        "model": model or None,
        "problem": _problem(record.problem, record.problem_detail),
        "views": [_view(view) for view in record.views],
    }


def _view(view: ViewRecord) -> ViewMessage:
    same = (
        "filename", "width", "height", "image_bytes", "found", "score", "raw_score", "threshold",
        "timings_ms", "engine",
    )  # fmt: skip
    return ViewMessage(
        image=MediumMessage(sha256=view.image_sha256, state=view.image_state),
        map=MediumMessage(sha256=view.map_sha256, state=view.map_state),
        regions=[dict(region) for region in view.regions],
        problem=_problem(view.problem, view.problem_detail),
        **{name: getattr(view, name) for name in same},
    )


def _problem(slug: str | None, detail: str | None) -> ProblemMessage | None:
    return None if slug is None else ProblemMessage(type=slug, detail=detail)


def _of_payload(kind: type[Part], payload: Mapping[str, Any], applies: bool) -> Any:  # noqa: ANN401
    """Return a verdict or hold from an event's payload."""
    if not applies:
        return None
    return kind.model_validate({name: payload.get(name) for name in kind.model_fields})

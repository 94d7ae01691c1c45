"""One inspection as the archive keeps it: the part's row, and a row for each of its views.

Times are aware datetimes in UTC. Texts that the client chose are kept as they came. `tables`
declares the columns; `store` writes and reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from model.inspection import Decision
from service.inspection.submission import Origin


class DecisionSource(StrEnum):
    """Where the decision that the line was told came from."""

    NETWORK = "network"
    FAIL_SAFE = "fail-safe"  # not inspected: UNDECIDED, and the line follows its fail-safe
    CLIENT = "client"  # the client told the line, and reported it


class MediaState(StrEnum):
    """Whether a view's image or raw map is a file of the archive, and if not, why."""

    KEPT = "kept"
    NOT_SAMPLED = "not-sampled"  # `keep_images` left it out
    NO_SPACE = "no-space"  # below the floor of free space, or the disk refused
    DELETED = "deleted"  # by the retention, or by a purge
    MISSING = "missing"  # there never was one: a refusal, or a view without a map


class Verdict(StrEnum):
    """A person's judgement of a part."""

    GOOD = "good"
    DEFECTIVE = "defective"
    UNSURE = "unsure"
    WITHDRAWN = "withdrawn"  # takes the verdicts before it back: no row has it as its verdict


class EventKind(StrEnum):
    """What an event of the journal is about; each event is delivered to every sink."""

    INSPECTION = "inspection"  # a new inspection: its event id is the inspection id
    UPDATE = "update"  # what was told or found has changed: a retry after a refusal, a late image
    VERDICT = "verdict"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """One image of a part. Sizes are in pixels and bytes, hashes lower-case hex of SHA-256.

    A file whose state is DELETED has the time when it was deleted. `engine` is the library and the
    precision that computed it; None in rows that an earlier release wrote.
    """

    filename: str | None = None
    width: int | None = None
    height: int | None = None
    image_bytes: int | None = None
    image_sha256: str | None = None
    image_state: MediaState = MediaState.MISSING
    image_deleted_at: datetime | None = None
    map_sha256: str | None = None
    map_state: MediaState = MediaState.MISSING
    map_deleted_at: datetime | None = None
    found: Decision | None = None
    score: float | None = None
    raw_score: float | None = None
    threshold: float | None = None
    regions: Sequence[Mapping[str, Any]] = ()
    timings_ms: Mapping[str, float] | None = None
    engine: str | None = None
    problem: str | None = None
    problem_detail: str | None = None


@dataclass(frozen=True, slots=True)
class InspectionRecord:
    """One part.

    `told` is what the line acted on, `found` what the network decided; None if it did not.
    `score` and `raw_score` are those of the view with the highest score. `problem` is the slug of
    the problem that the client got. `repeats` counts the refusals of a flood that this row stands
    for. `number` (the journal's) and `station_number` are 0 until the journal assigns them.
    """

    inspection_id: UUID
    received_at: datetime
    category: str
    told: Decision
    source: DecisionSource
    node: str = ""
    number: int = 0
    station_number: int = 0
    captured_at: datetime | None = None
    origin: Origin = Origin.LINE
    part_id: str | None = None
    station: str | None = None
    job_id: str | None = None
    meta: Mapping[str, Any] | None = None
    told_reason: str | None = None
    fail_safe: str | None = None
    found: Decision | None = None
    score: float | None = None
    raw_score: float | None = None
    threshold: float | None = None
    review_threshold: float | None = None
    model_name: str | None = None
    model_version: str | None = None
    model_sha256: str | None = None
    calibration_version: str | None = None
    request_id: str = ""
    caller: str = ""
    problem: str | None = None
    problem_detail: str | None = None
    repeats: int = 1
    verdict: Verdict | None = None
    is_held: bool = False
    views: Sequence[ViewRecord] = ()


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """A person's verdict; the newest of an inspection stands, unless it is a withdrawal."""

    event_id: UUID
    inspection_id: UUID
    verdict: Verdict
    author: str
    at: datetime
    defect_class: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """A hold keeps an inspection and its media from the retention, until it is released."""

    event_id: UUID
    inspection_id: UUID
    is_held: bool
    author: str
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of this node's journal, numbered in the order of the commits.

    `payload` is the record of a verdict or hold; an inspection is read from its own rows.
    """

    number: int
    event_id: UUID
    inspection_id: UUID
    kind: EventKind
    at: datetime
    station: str | None
    station_number: int
    origin: Origin
    payload: Mapping[str, Any] | None = None

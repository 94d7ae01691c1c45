"""Records of inspections from their results, and results from records.

entry = entry_of(blank_entry(part, "NG", received_at(part)), part, result, files)
result = result_of(record, part)
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from PIL.Image import Image

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Decision, Region
from service.archive.records import DecisionSource, InspectionRecord, MediaState, ViewRecord
from service.errors import (
    BodyTooLarge,
    ImageTooLarge,
    InspectionFailed,
    ServiceError,
    UndecodableImage,
    UnsupportedImage,
)
from service.inspection.options import PartFields
from service.inspection.request import PartRequest
from service.inspection.result import Inspected, PartResult, ViewResult, problem_of_part
from service.inspection.submission import Told
from service.problem_types import PROBLEM_TYPES
from service.versions.registry import Route
from service.workers.pipe.messages import Finding

_VERSION_LETTERS = 12
_OF_IMAGES: Mapping[str, type[ServiceError]] = {
    PROBLEM_TYPES[kind].slug: kind
    for kind in (BodyTooLarge, ImageTooLarge, UndecodableImage, UnsupportedImage)
}
"""Faults of an image, which a repetition cannot change."""


@dataclass(frozen=True, slots=True)
class ViewFiles:
    """What became of a view's image and map as files; `nbytes` are the image's."""

    sha256: str | None = None
    nbytes: int | None = None
    image_state: MediaState = MediaState.MISSING
    map_sha256: str | None = None
    map_state: MediaState = MediaState.MISSING


def received_at(part: PartRequest) -> datetime:
    """Return when the part's request was received."""
    moment = part.options.received_at
    waited_s = 0.0 if moment is None else asyncio.get_running_loop().time() - moment
    return datetime.now(UTC) - timedelta(seconds=waited_s)


def blank_entry(
    part: PartRequest,
    fail_safe: str,
    moment: datetime,
    **facts: Any,  # noqa: ANN401 - of the record
) -> InspectionRecord:
    """Return the record of a part, received at a moment.

    Without more `facts`, it was not inspected: UNDECIDED, or as the line was told.
    """
    submission, fields = part.submission, part.options.part
    told: dict[str, Any] = {
        "told": Decision.UNDECIDED,
        "source": DecisionSource.FAIL_SAFE,
        "fail_safe": fail_safe,
    }
    if submission.told is not None:
        told = _told_by_client(submission.told)
    elif decision := facts.get("found"):
        told = {"told": decision, "source": DecisionSource.NETWORK}
    return InspectionRecord(
        submission.inspection_id,
        moment,
        part.category,
        captured_at=submission.captured_at,
        origin=submission.origin,
        part_id=fields.part_id,
        station=fields.station,
        job_id=fields.job_id,
        meta=fields.meta,
        request_id=part.request_id,
        caller=submission.caller,
        **told,
        **facts,
    )


def refusal(
    part: PartRequest, fail_safe: str, moment: datetime, slug: str, detail: str
) -> InspectionRecord:
    """Return the record of a part that got a problem instead of an inspection."""
    return blank_entry(part, fail_safe, moment, problem=slug, problem_detail=detail)


def entry_of(
    part: PartRequest,
    result: PartResult,
    files: Sequence[ViewFiles],
    fail_safe: str,
    moment: datetime,
) -> InspectionRecord:
    """Return the record of a result, with the files of its views."""
    views = [_view_of(*pair) for pair in zip(part.views, result.views, files, strict=True)]
    facts: dict[str, Any] = {"views": views}
    if not result.errors or result.decision is Decision.NG:
        facts["found"] = result.decision
    elif result.failed and (worst := result.worst_error) is not None:
        facts["problem"], facts["problem_detail"] = problem_of_part(result.errors[worst])
    scored = [view for view in views if view.score is not None]
    if scored and result.route is not None:
        facts |= _facts_of(result.route, max(scored, key=lambda view: view.score or 0.0))
    return blank_entry(part, fail_safe, moment, **facts)


def with_told(entry: InspectionRecord, told: Told) -> InspectionRecord:
    """Return a record with what the line was told by its client."""
    return replace(entry, **_told_by_client(told))


def merged(before: InspectionRecord, after: InspectionRecord) -> InspectionRecord:
    """Return the record of a part that was recorded undecided before, and inspected now.

    It keeps what a client said that the line was told, and its place in time, unless the day has
    changed: its files are in the folder of today.
    """
    told_by_client = DecisionSource.CLIENT
    if before.source is told_by_client and after.source is not told_by_client:
        after = with_told(after, Told(before.told, before.told_reason))
    same_day = before.received_at.date() == after.received_at.date()
    return replace(
        after,
        received_at=before.received_at if same_day else after.received_at,
        captured_at=after.captured_at or before.captured_at,
        origin=before.origin,
        repeats=1,
    )


def completed(before: InspectionRecord, entry: InspectionRecord) -> InspectionRecord:
    """Return an open record with those fields of a later request that it lacks.

    The first request of a part may have been refused before its fields were read.
    """
    if not is_open(before):
        return before
    names = ("category", "part_id", "station", "job_id", "meta", "captured_at")
    lacking = [name for name in names if not getattr(before, name)]
    return replace(before, **{name: getattr(entry, name) for name in lacking})


def is_open(record: InspectionRecord) -> bool:
    """Return whether a part is still to be inspected: a repetition could change its result."""
    if record.found is not None:
        return False
    problems = {view.problem for view in record.views if view.problem}
    return not problems or not problems <= _OF_IMAGES.keys()


def result_of(
    record: InspectionRecord, part: PartRequest, maps: Sequence[Any] | None = None
) -> PartResult:
    """Return the result in a record, for a request about the same part.

    `maps` are the pixel scores of its views, None for those without.
    """
    each = maps or [None] * len(record.views)
    views = [
        _result_of(record, view, scores) for view, scores in zip(record.views, each, strict=True)
    ]
    return PartResult(
        None,
        views,
        record.inspection_id,
        archived=True,
        replayed=True,
        all_or_none=part.all_or_none,
    )


@lru_cache(maxsize=1024)
def calibration_version(calibration: Calibration) -> str:
    """Return a short name of a calibration: of all its numbers, thresholds set by hand included."""
    content = json.dumps(calibration.to_dict(), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:_VERSION_LETTERS]


def _told_by_client(told: Told) -> dict[str, Any]:
    return {
        "told": told.decision,
        "told_reason": told.reason,
        "source": DecisionSource.CLIENT,
        "fail_safe": None,
    }


def _facts_of(route: Route, worst: ViewRecord) -> dict[str, Any]:
    """Return the fields of the version that inspected the part, and of its worst view."""
    return {
        "score": worst.score,
        "raw_score": worst.raw_score,
        "threshold": worst.threshold,
        "review_threshold": route.calibration.review_threshold,
        "model_name": route.checkpoint.name,
        "model_version": route.checkpoint.version,
        "model_sha256": route.sha256,
        "calibration_version": calibration_version(route.calibration),
    }


def _view_of(source: object, result: ViewResult, files: ViewFiles) -> ViewRecord:
    facts: dict[str, Any]
    if isinstance(result, Exception):
        slug, detail = problem_of_part(result)
        facts = {"problem": slug, "problem_detail": detail}
    else:
        finding, (width, height) = result.finding, result.size
        facts = {
            "width": width,
            "height": height,
            "found": finding.decision,
            "score": finding.score,
            "raw_score": finding.raw_score,
            "threshold": finding.threshold,
            "regions": [_region_of(region) for region in finding.regions],
            "timings_ms": {stage: round(ms, 3) for stage, ms in result.timings_ms.items()},
            "engine": finding.engine,
        }
    return ViewRecord(
        filename=getattr(source, "filename", None) if not isinstance(source, Image) else None,
        image_bytes=files.nbytes,
        image_sha256=files.sha256,
        image_state=files.image_state,
        map_sha256=files.map_sha256,
        map_state=files.map_state,
        **facts,
    )


def _region_of(region: Region) -> dict[str, Any]:
    """Return a region as the answers of the API have it."""
    (x, y, width, height), (peak_x, peak_y) = region.box, region.peak
    return {
        "x": x, "y": y, "width": width, "height": height, "area_px": region.area_px,
        "peak": {"x": peak_x, "y": peak_y}, "peak_score": region.peak_score,
    }  # fmt: skip


def _region_in(stored: Mapping[str, Any]) -> Region:
    box = (stored["x"], stored["y"], stored["width"], stored["height"])
    peak = (stored["peak"]["x"], stored["peak"]["y"])
    return Region(box, stored["area_px"], peak, stored["peak_score"])


def _result_of(
    record: InspectionRecord,
    view: ViewRecord,
    scores: Any,  # noqa: ANN401
) -> ViewResult:
    if view.found is None:
        return _error_of(view)
    assert record.model_name is not None
    assert record.model_version is not None
    assert view.score is not None
    assert view.raw_score is not None
    assert view.threshold is not None
    regions = tuple(_region_in(region) for region in view.regions)
    timings = dict(view.timings_ms or {})
    finding = Finding(
        view.found, view.score, view.raw_score, view.threshold, regions, timings, scores,
        view.engine,
    )  # fmt: skip
    checkpoint = CheckpointKey(record.model_name, record.model_version)
    size = (view.width or 0, view.height or 0)
    return Inspected(record.category, checkpoint, finding, size, timings, _fields_of(record))


def _fields_of(record: InspectionRecord) -> PartFields:
    return PartFields.model_construct(
        part_id=record.part_id,
        station=record.station,
        job_id=record.job_id,
        meta=None if record.meta is None else dict(record.meta),
    )


def _error_of(view: ViewRecord) -> ServiceError:
    """Return the error that a view's client got."""
    kind = _OF_IMAGES.get(view.problem or "", InspectionFailed)
    return kind(view.problem_detail or "the image was not inspected")

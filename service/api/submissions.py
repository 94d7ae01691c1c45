"""How a client hands a part in: its inspection id, when it was captured, what the line was told.

part = PartRequest(..., submission=submission_of(request, fields))
result = await inspect(request, service, part)
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from model.inspection import Decision
from service.access.guard import Caller
from service.api.service import Service
from service.errors import InvalidInspectionId, InvalidRequest
from service.http.inspection_ids import INSPECTION_ID_HEADER, request_to_inspect
from service.identifiers import new_id, parse_id
from service.inspection.options import PartFields, Strict
from service.inspection.request import PartRequest
from service.inspection.result import PartResult
from service.inspection.submission import Origin, Submission, Told

ARCHIVED_HEADER = "X-Archived"
REPLAYED_HEADER = "X-Inspection-Replayed"

_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_YEARS = range(2000, 2200)
_OF_BROWSERS = ("Sec-Fetch-Mode", "Sec-Fetch-Site")


def _check_is_iso(value: object) -> object:
    """Refuse a number, which pydantic would take as seconds since 1970."""
    if value is not None and not (isinstance(value, str) and _ISO_TIME.match(value)):
        raise ValueError("expected a time with its zone, such as 2026-11-29T10:15:30.250+01:00")
    return value


def _check_year(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"expected a year from {_YEARS[0]} to {_YEARS[-1]}, got {moment.year}")
    return moment.astimezone(UTC)


_Captured = Annotated[
    AwareDatetime,
    AfterValidator(_check_year),
    BeforeValidator(_check_is_iso),
    Field(strict=False),
]


class SubmissionFields(Strict):
    """The client's fields of how a part is handed in."""

    inspection_id: str | None = Field(
        None,
        description="a UUIDv7 that the client makes for the part, the same when it tries again; "
        "also the header X-Inspection-ID",
        examples=["0192f0c1-2c3a-7def-8123-456789abcdef"],
    )
    captured_at: _Captured | None = Field(
        None, description="when the image was taken: ISO 8601 with a time zone"
    )
    told: Annotated[Decision, Field(strict=False)] | None = Field(
        None,
        description="the decision that the line has already acted on: the part is then inspected "
        "for the record alone, after all parts on the line",
    )
    told_reason: str | None = Field(
        None, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$", description="why the line was told so"
    )
    origin: Literal["line", "test"] | None = Field(
        None,
        description="`test` for an attempt by a person or a check, which is neither delivered nor "
        "counted; by default `line`, from a browser `test`",
    )

    @property
    def what_was_told(self) -> Told | None:
        """The decision that the line acted on. Raises `InvalidRequest` for a reason without it."""
        if self.told is not None:
            return Told(self.told, self.told_reason)
        if self.told_reason is not None:
            raise InvalidRequest(
                "told_reason without told: expected the decision that the line was told"
            )
        return None


_NO_FIELDS = SubmissionFields()
_NO_PART_FIELDS = PartFields()


def submission_of(request: Request, fields: SubmissionFields = _NO_FIELDS) -> Submission:
    """Return how the request's only part is handed in; the answer gets its id.

    Raises `InvalidInspectionId`, or `InvalidRequest`.
    """
    header = _header_of(request)
    in_header = None if header is None else _parse(header, f"the header {INSPECTION_ID_HEADER}")
    in_body = None if fields.inspection_id is None else _parse(fields.inspection_id)
    if in_header and in_body and in_header != in_body:
        raise InvalidInspectionId(
            f"the field inspection_id is {in_body}, but the header {INSPECTION_ID_HEADER} is "
            f"{in_header}: send one of them"
        )
    given = in_header or in_body
    requested = request_to_inspect(request.scope)
    if requested is None:
        return _submission(request, fields, given)
    if given:
        requested.inspection_id, requested.fresh = given, False
    return _submission(request, fields, requested.inspection_id, fresh=requested.fresh)


def _header_of(request: Request) -> str | None:
    """Return the header with the id. Raises `InvalidInspectionId` if it is there twice."""
    given = set(request.headers.getlist(INSPECTION_ID_HEADER))
    if len(given) > 1:
        raise InvalidInspectionId(
            f"the header {INSPECTION_ID_HEADER} is there {len(given)} times with different values: "
            "send it once"
        )
    return next(iter(given), None)


def submissions_of_batch(
    request: Request, of_parts: Iterable[SubmissionFields]
) -> list[Submission]:
    """Return how each of many parts is handed in. Raises as `submission_of`."""
    if request.headers.get(INSPECTION_ID_HEADER) is not None:
        raise InvalidInspectionId(
            f"a batch has no {INSPECTION_ID_HEADER}: give each image its own inspection_id"
        )
    submissions = []
    for fields in of_parts:
        given = None if fields.inspection_id is None else _parse(fields.inspection_id)
        submissions.append(_submission(request, fields, given))
    counts = Counter(submission.inspection_id for submission in submissions)
    for inspection_id, count in counts.items():
        if count > 1:
            raise InvalidInspectionId(
                f"{count} images have the inspection_id {inspection_id}: each is a part of its own "
                "and needs its own id; to send several views of one part, use POST /detect"
            )
    return submissions


def record_headers(result: PartResult) -> dict[str, str]:
    """Return the headers that say under which id a part was recorded, and whether."""
    headers = {INSPECTION_ID_HEADER: str(result.inspection_id)}
    if result.archived is not None:
        headers[ARCHIVED_HEADER] = "true" if result.archived else "false"
    if result.replayed:
        headers[REPLAYED_HEADER] = "true"
    return headers


@dataclass(frozen=True, slots=True)
class ExpectedPart:
    """What a request has said of its part so far."""

    category: str
    fields: PartFields


def expect_part(
    request: Request, category: str | None, fields: PartFields = _NO_PART_FIELDS
) -> None:
    """Note what is known of the request's part, for the record if the request is refused."""
    requested = request_to_inspect(request.scope)
    if requested is not None:
        requested.part = ExpectedPart(category or "", fields)


async def inspect(request: Request, service: Service, part: PartRequest) -> PartResult:
    """Have a part inspected, which from now on is also recorded there."""
    requested = request_to_inspect(request.scope)
    if requested is not None:
        requested.handed_over = True
    return await service.inspect_part(part)


def caller_name(request: Request) -> str:
    """Return the name of the caller's key."""
    caller: Caller | None = request.scope["state"].get("caller")
    return caller.name if caller else ""


def origin_of(request: Request, fields: SubmissionFields = _NO_FIELDS) -> Origin:
    """Return the origin of a request's part that the line was told nothing of."""
    if fields.origin is not None:
        return Origin(fields.origin)
    is_browser = any(name in request.headers for name in _OF_BROWSERS)
    return Origin.TEST if is_browser else Origin.LINE


def _submission(
    request: Request, fields: SubmissionFields, given: UUID | None, *, fresh: bool = False
) -> Submission:
    told, origin = fields.what_was_told, origin_of(request, fields)
    if told is not None and origin is not Origin.TEST:
        origin = Origin.LATE
    return Submission(
        given or new_id(),
        origin,
        fields.captured_at,
        told,
        caller_name(request),
        fresh=fresh or given is None,
    )


def _parse(text: str, name: str = "inspection_id") -> UUID:
    try:
        return parse_id(text)
    except ValueError as error:
        raise InvalidInspectionId(f"{name}: {error}") from error

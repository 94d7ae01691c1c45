"""Archived inspections as types, and what to search for.

for part in client.inspections(Search(station="EL-3", told=Decision.NG)):
    print(part.received_at, part.part_id, part.score)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import httpx
from pydantic import Field

from service.client.answers import AnswerPart, Decision, Region
from service.client.results import read_body, read_items, read_one


class Verdict(StrEnum):
    """A person's verdict on a part."""

    GOOD = "good"
    DEFECTIVE = "defective"
    UNSURE = "unsure"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The inspections to search for; None does not filter.

    `model` is a name or name/version. `verdict` "none" finds parts without one. `since` is
    included, `until` is not; both need a time zone. An open review was told REVIEW or UNDECIDED,
    and nobody gave a verdict.
    """

    category: str | None = None
    station: str | None = None
    part_id: str | None = None
    job_id: str | None = None
    told: Decision | str | None = None
    found: Decision | str | None = None
    verdict: Verdict | str | None = None
    model: str | None = None
    origin: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None
    max_score: float | None = None
    is_held: bool | None = None
    open_review: bool | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} needs a time zone, got {moment}")

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the request."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _text(value) for name, value in given.items() if value is not None}


EVERYTHING = Search()


class View(AnswerPart):
    """One image of a part; `problem` says why it was not inspected."""

    view: int
    filename: str | None = None
    width: int | None = None
    height: int | None = None
    found: Decision | None = None
    score: float | None = None
    raw_score: float | None = None
    threshold: float | None = None
    engine: str | None = None
    problem: str | None = None
    regions: tuple[Region, ...] = ()


class GivenVerdict(AnswerPart):
    """A verdict that somebody gave."""

    verdict: Verdict
    author: str
    at: datetime
    defect_class: str | None = None
    comment: str | None = None


class Checkpoint(AnswerPart):
    """The checkpoint that inspected a part."""

    name: str
    version: str | None = None
    sha256: str | None = None


class Inspection(AnswerPart):
    """One archived part: what the line was told, what was found, and the newest verdict.

    Searches leave out the `regions` of views and all `verdicts`; `Client.inspection` has them.
    `answer` is the service's JSON.
    """

    inspection_id: UUID
    node: str
    received_at: datetime
    captured_at: datetime | None = None
    origin: str
    category: str
    part_id: str | None = None
    station: str | None = None
    job_id: str | None = None
    meta: dict[str, Any] | None = None
    told: Decision
    told_reason: str | None = None
    source: str
    found: Decision | None = None
    score: float | None = None
    raw_score: float | None = None
    threshold: float | None = None
    model: Checkpoint | None = None
    problem: str | None = None
    verdict: Verdict | None = None
    is_held: bool = False
    views: tuple[View, ...] = ()
    verdicts: tuple[GivenVerdict, ...] = ()
    answer: dict[str, Any] = Field(default={}, repr=False, description="the service's JSON")


@dataclass(frozen=True, slots=True)
class Page:
    """Inspections, newest first, and the cursor of the next page."""

    inspections: Sequence[Inspection]
    cursor: str | None


def read_page(response: httpx.Response) -> Page:
    """Return a page. Raises `Problem` or `UnexpectedAnswer`."""
    body = read_body(response)
    rows = [read_one(Inspection, row, keep=True) for row in read_items(body, "inspections")]
    cursor = body.get("cursor")
    return Page(rows, None if cursor is None else str(cursor))


def read_inspection(response: httpx.Response) -> Inspection:
    """Return an inspection. Raises `Problem` or `UnexpectedAnswer`."""
    return read_one(Inspection, read_body(response), keep=True)


def read_record(response: httpx.Response) -> Inspection:
    """Return the inspection that was recorded. Raises `Problem` or `UnexpectedAnswer`."""
    return read_one(Inspection, read_body(response, (201,)), keep=True)


def verdict_body(
    verdict: Verdict | str, defect_class: str | None, comment: str | None, who: str | None
) -> Mapping[str, str]:
    """Return the body of a verdict."""
    given = {"defect_class": defect_class, "comment": comment, "who": who}
    return {"verdict": str(verdict)} | {k: v for k, v in given.items() if v is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)

"""The part that a person judges now, with all that the page shows of it."""

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from starlette.responses import Response

from service.api.inspections.door import InspectionsDoor
from service.api.service import Service
from service.archive.records import InspectionRecord, VerdictRecord
from service.archive.searching.archive import Found
from service.archive.searching.defects import recent_classes
from service.archive.searching.judging import standing
from service.console.changes import reviewer_name
from service.console.images.layers import photo_address, picture_of
from service.console.records import review_score_of, state_of
from service.console.review.ahead import Ahead, look_ahead
from service.console.review.asked import Asked
from service.console.review.claims import Claims
from service.console.visits import Visit

HIDING_COOKIE = "mambaad_hide_score"

_HIDDEN = "yes"
_MAX_CLASSES = 9


@dataclass(frozen=True, slots=True)
class Note:
    """What the last action did, or why it did nothing.

    `kind` is judged, withdrawn, overtaken (`verdict` is that of somebody else) or gone.
    """

    kind: str
    part: InspectionRecord | None = None
    verdict: VerdictRecord | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Makes what the page shows to one browser."""

    visit: Visit
    service: Service
    door: InspectionsDoor
    claims: Claims

    async def first(self, asked: Asked, note: Note | None = None) -> dict[str, Any]:
        """Return the template's values for the first part that waits, if one does."""
        ahead = await self._look_ahead(asked)
        part = await self.door.archive.find(ahead.parts[0].inspection_id) if ahead.parts else None
        return await self._values(asked, ahead, note, part, None)

    async def certain(
        self, asked: Asked, identifier: UUID, *, note: Note | None = None, view: int | None = None
    ) -> dict[str, Any]:
        """Return the template's values for a certain part. Raises `NoSuchInspection`."""
        part = await self.door.archive.find(identifier)
        return await self._values(asked, await self._look_ahead(asked), note, part, view)

    async def _look_ahead(self, asked: Asked) -> Ahead:
        holder = self.visit.session.session_id
        queue = asked.queue(self.visit.console.settings.review_share)
        others = self.claims.of_others(holder)
        ahead = await self.door.archive.read(partial(look_ahead, queue, others))
        self.claims.take(holder, [one.inspection_id for one in ahead.parts])
        return ahead

    async def _values(
        self,
        asked: Asked,
        ahead: Ahead,
        note: Note | None,
        part: Found | None,
        view: int | None,
    ) -> dict[str, Any]:
        shared = {
            "asked": asked, "ahead": ahead, "note": note, "state_of": state_of,
            "node": self.door.node, "hides": hides_scores(self.visit),
            "reviewer": reviewer_name(self.visit), "part": None, "preload": None,
        }  # fmt: skip
        if part is None:
            return shared
        record = part.inspection
        number = _number_of(record, view)
        following = next((p for p in ahead.parts if p.inspection_id != record.inspection_id), None)
        return {
            **shared,
            "part": record,
            "verdict": standing(part.verdicts),
            "number": number,
            "view": record.views[number] if record.views else None,
            "picture": await self._picture(record, number),
            "preload": self._photo(following),
            "classes": await self.door.archive.read(partial(_classes_of, record.category)),
            "review_score": review_score_of(self.service.registry, record),
        }

    async def _picture(self, record: InspectionRecord, number: int) -> object:
        if not record.views:
            return None
        return await picture_of(self.visit.root, self.door, record, number)

    def _photo(self, record: InspectionRecord | None) -> str | None:
        """Return the address of the image that the next part will show."""
        if record is None or not record.views:
            return None
        return photo_address(self.visit.root, self.door, record, _number_of(record, None))


def hides_scores(visit: Visit) -> bool:
    """Return whether this browser wants no score before a verdict."""
    return visit.request.cookies.get(HIDING_COOKIE) == _HIDDEN


def keep_hiding(visit: Visit, response: Response, *, hides: bool) -> None:
    """Keep in this browser whether it wants no score before a verdict."""
    visit.set_choice(response, HIDING_COOKIE, _HIDDEN if hides else "")


def _number_of(record: InspectionRecord, view: int | None) -> int:
    """Return the number of a view that exists: the one with the highest score, unless asked."""
    if view is not None:
        return max(0, min(view, len(record.views) - 1))
    scores = [-1.0 if one.score is None else one.score for one in record.views]
    return scores.index(max(scores)) if scores else 0


def _classes_of(category: str, connection: Connection) -> list[str]:
    return recent_classes(connection, category, _MAX_CLASSES)

"""Changes of a threshold: set it, undo the last change, restore the calibrated one.

Each goes through `Rollout`, which records who, when, why, and from which value to which.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.api.documents import build
from service.api.service import Service, ServiceDependency
from service.console.changes import author_of
from service.console.thresholds.choices import Choice, Done, choose, read_query
from service.console.thresholds.showing import show
from service.console.visits import CHANGING, Visit, VisitDependency
from service.errors import Conflict, InvalidRequest
from service.http.declaration import declares
from service.versions.changes import Author
from service.versions.state import AuditRecord
from service.versions.thresholds import RawScore, Threshold

router = APIRouter()

_CHOICE = ("category", "model", "period", "since", "until")
_LONGEST_REASON = 500


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


_Review = Annotated[RawScore | None, BeforeValidator(_empty_is_none)]


class _Seen(BaseModel):
    """The thresholds that were in force when the page was loaded."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    seen_threshold: RawScore
    seen_review: _Review = None

    @property
    def values(self) -> dict[str, Any]:
        return {"threshold": self.seen_threshold, "review_threshold": self.seen_review}


class _New(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    threshold: RawScore
    review_threshold: _Review = None

    @model_validator(mode="after")
    def _check_review(self) -> "_New":
        if self.review_threshold is not None and self.review_threshold >= self.threshold:
            raise ValueError("the review threshold must be below the threshold")
        return self


@router.post("/console/thresholds/apply")
@declares(is_page=True, scope=CHANGING)
async def apply(visit: VisitDependency, service: ServiceDependency) -> Response:
    """Set a threshold from the next part on."""
    form = await visit.form()
    choice = _choice(visit, service, form)
    author = author_of(visit, form)
    new = build(_New, _of(form, _New), "form")
    threshold = _set_by(author, new.threshold, new.review_threshold)
    return await _change(visit, service, choice, form, threshold, author, Done.APPLIED)


@router.post("/console/thresholds/restore")
@declares(is_page=True, scope=CHANGING)
async def restore(visit: VisitDependency, service: ServiceDependency) -> Response:
    """Restore the calibrated threshold."""
    form = await visit.form()
    choice = _choice(visit, service, form)
    author = author_of(visit, form)
    return await _change(visit, service, choice, form, None, author, Done.RESTORED)


@router.post("/console/thresholds/undo")
@declares(is_page=True, scope=CHANGING)
async def undo(visit: VisitDependency, service: ServiceDependency) -> Response:
    """Restore what was in force before the last change."""
    form = await visit.form()
    choice = _choice(visit, service, form)
    last = last_change(service, choice.category, choice.key)
    if last is None or not last.before:
        raise InvalidRequest(f"the threshold of {choice.category} in {choice.key} never changed")
    assert visit.caller is not None  # the route needs a scope
    who = form.get("who", "").strip() or visit.caller.name
    author = author_of(visit, {"who": who, "reason": _reason_of_undo(last)})
    threshold = None
    if last.before != service.rollout.calibrated(choice.category, choice.key):
        threshold = _set_by(author, last.before["threshold"], last.before["review_threshold"])
    return await _change(visit, service, choice, form, threshold, author, Done.UNDONE)


def last_change(service: Service, category: Category, key: CheckpointKey) -> AuditRecord | None:
    """Return the last change of a version's threshold; None without one."""
    changes = (one for one in service.rollout.history(category) if one.model == str(key))
    return next(changes, None)


def _choice(visit: Visit, service: Service, form: Mapping[str, str]) -> Choice:
    query = read_query({name: form.get(name, "") for name in _CHOICE})
    if not query.category or not query.model:
        raise InvalidRequest("a change needs a category and a model")
    choice = choose(query, service.registry, visit.console.settings.zone, datetime.now(UTC))
    assert choice is not None  # its category is served
    return choice


def _of(form: Mapping[str, str], model: type[BaseModel]) -> dict[str, str]:
    return {name: form[name] for name in model.model_fields if name in form}


def _set_by(author: Author, threshold: float, review: float | None) -> Threshold:
    return Threshold(
        threshold=threshold,
        review_threshold=review,
        who=author.who,
        reason=author.reason,
        at=datetime.now(UTC),
    )


def _reason_of_undo(last: AuditRecord) -> str:
    at = last.at.astimezone(UTC)
    return f"undo of the change of {at:%Y-%m-%d %H:%M:%S} UTC by {last.who}"[:_LONGEST_REASON]


async def _change(
    visit: Visit,
    service: Service,
    choice: Choice,
    form: Mapping[str, str],
    threshold: Threshold | None,
    author: Author,
    done: Done,
) -> Response:
    """Change the threshold unless somebody else did since the page was loaded."""
    seen = build(_Seen, _of(form, _Seen), "form")
    try:
        await service.rollout.set_threshold(
            choice.category, choice.key, threshold, author, instead_of=seen.values
        )
    except Conflict:
        return show(visit, service, choice, has_conflict=True)
    return visit.redirect(f"/console/thresholds?{choice.query}&done={done.value}")

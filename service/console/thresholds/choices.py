"""What the page is about: a category, one of its versions, and a period."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from model.checkpoints.key import CheckpointKey
from model.inspection import Category
from service.api.documents import build
from service.console.form_times import aware, field_time
from service.errors import InvalidRequest, NoSuchCategory
from service.versions.assignment import Role
from service.versions.registry import Registry

_Text = Annotated[str, Field(max_length=200)]


class PeriodName(StrEnum):
    """The periods to choose from; `OWN` has dates."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    OWN = "own"


_LENGTHS = {
    PeriodName.DAY: timedelta(days=1),
    PeriodName.WEEK: timedelta(days=7),
    PeriodName.MONTH: timedelta(days=30),
}


class Done(StrEnum):
    """What the last request has done; the page says so."""

    APPLIED = "applied"
    UNDONE = "undone"
    RESTORED = "restored"


class ChoiceQuery(BaseModel):
    """The parameters of the page's address; an empty one does not count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: _Text = ""
    model: _Text = ""
    period: PeriodName = PeriodName.WEEK
    since: datetime | None = None
    until: datetime | None = None
    done: Done | None = None


@dataclass(frozen=True, slots=True)
class VersionChoice:
    """A version that is calibrated for the category; without roles it serves nothing."""

    key: CheckpointKey
    roles: Sequence[Role]


@dataclass(frozen=True, slots=True)
class Choice:
    """A category, its versions with the chosen one, and the time of `period`."""

    category: Category
    categories: Sequence[Category]
    key: CheckpointKey
    versions: Sequence[VersionChoice]
    period: PeriodName
    since: datetime
    until: datetime
    zone: tzinfo

    @property
    def fields(self) -> dict[str, str]:
        """The choice as the parameters of an address or the fields of a form."""
        fields = {
            "category": self.category, "model": str(self.key), "period": self.period.value
        }  # fmt: skip
        if self.period is PeriodName.OWN:
            fields |= {"since": self.field_time(self.since), "until": self.field_time(self.until)}
        return fields

    @property
    def query(self) -> str:
        """The choice as the query of an address."""
        return urlencode(self.fields)

    def field_time(self, moment: datetime) -> str:
        """Return a time as a field for times shows it, in the plant's time zone."""
        return field_time(moment, self.zone)


def read_query(given: Mapping[str, str]) -> ChoiceQuery:
    """Return the parameters. Raises `RequestValidationError`."""
    return build(ChoiceQuery, {name: one for name, one in given.items() if one.strip()}, "query")


def choose(query: ChoiceQuery, registry: Registry, zone: tzinfo, now: datetime) -> Choice | None:
    """Return what the query chooses: by default the first category, stable version, last week.

    None if no category is served. Raises `NoSuchCategory`, `NoSuchModel` or `InvalidRequest`.
    """
    categories = sorted(registry.assignments)
    if not categories:
        return None
    served = [route.category for route in registry.routes]
    category = query.category or next(iter(served), categories[0])
    if category not in categories:
        raise NoSuchCategory(
            f"no checkpoint serves the category {category[:100]!r}; have: {', '.join(categories)}"
        )
    since, until = _period(query, zone, now)
    return Choice(
        category,
        categories,
        _version(query.model, registry, category),
        _versions(registry, category),
        query.period,
        since,
        until,
        zone,
    )


def _version(model: str, registry: Registry, category: Category) -> CheckpointKey:
    if not model:
        return registry.assignments[category].stable
    name, _, version = model.partition("/")
    return registry.version(name, version).key


def _versions(registry: Registry, category: Category) -> list[VersionChoice]:
    roles: dict[CheckpointKey, list[Role]] = {}
    for role, key in registry.assignments[category].roles():
        roles.setdefault(key, []).append(role)
    calibrated = [one.key for one in registry.versions if category in (one.routes or {})]
    return [VersionChoice(key, roles.get(key, [])) for key in calibrated]


def _period(query: ChoiceQuery, zone: tzinfo, now: datetime) -> tuple[datetime, datetime]:
    if query.period is not PeriodName.OWN:
        return now - _LENGTHS[query.period], now
    until = aware(query.until, zone) if query.until else now
    since = aware(query.since, zone) if query.since else until - _LENGTHS[PeriodName.WEEK]
    if since >= until:
        raise InvalidRequest(
            f"the period must begin before its end, got {since.isoformat()} to {until.isoformat()}"
        )
    return since, until

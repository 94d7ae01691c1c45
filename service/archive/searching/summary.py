"""Counts inspections over time, from the roll-ups: never a scan of the inspections.

    totals = summarise(connection, Period(since, until, Step.DAY), category="solar-mono")

Hours and days are those of UTC. Inspections of origin `test` are not counted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, func, select, type_coerce

from model.inspection import Decision
from service.archive.column_types import Moment
from service.archive.records import Verdict
from service.archive.store import hour_of
from service.archive.tables import SCORE_BINS, rollups
from service.inspection.submission import Origin

_Key: TypeAlias = tuple[Decision, Verdict | None]

_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


class Step(StrEnum):
    """The length of one entry of a summary."""

    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """The step's duration."""
        return _HOUR if self is Step.HOUR else timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` to before `until`, in whole hours of UTC, divided into steps."""

    since: datetime
    until: datetime
    step: Step

    @classmethod
    def around(cls, since: datetime, until: datetime, step: Step) -> "Period":
        """Return the period of all hours that the times touch."""
        until = until.astimezone(UTC)
        end = hour_of(until)
        return cls(hour_of(since.astimezone(UTC)), end if end == until else end + _HOUR, step)

    @property
    def steps(self) -> int:
        """The number of steps that the period touches, at most."""
        return (self.until - self.since) // self.step.length + 2


@dataclass(frozen=True, slots=True)
class Count:
    """The number of parts with this decision told and this verdict."""

    told: Decision
    verdict: Verdict | None
    parts: int


@dataclass(frozen=True, slots=True)
class StepCounts:
    """The counts of one step; a step without parts is left out."""

    at: datetime
    counts: Sequence[Count]


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """Parts told one decision, by score: `bins[i]` is from i / 50 to (i + 1) / 50."""

    told: Decision
    bins: Sequence[int]
    without_score: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The counts of a period, oldest step first."""

    period: Period
    steps: Sequence[StepCounts]
    scores: Sequence[ScoreCounts]

    @property
    def counts(self) -> list[Count]:
        """The counts of the whole period."""
        parts: Counter[_Key] = Counter()
        for step in self.steps:
            for count in step.counts:
                parts[count.told, count.verdict] += count.parts
        return _counts(parts)


def summarise(
    connection: Connection,
    period: Period,
    *,
    category: str | None = None,
    station: str | None = None,
    origin: Origin | None = None,
) -> Summary:
    """Return the counts of a period; None counts every category, station or origin."""
    columns = rollups.c
    start = _start_of(period.step)
    keys = (start, columns.told, columns.verdict, columns.score_bin)
    query = select(*keys, func.sum(columns.parts)).group_by(*keys)
    query = query.where(columns.hour >= period.since, columns.hour < period.until)
    chosen = {columns.station: station, columns.origin: origin}
    query = query.where(*(column == value for column, value in chosen.items() if value is not None))
    # The key begins with the category: one range of it for each is faster than the index by hour.
    of_category = (
        columns.category.in_(_categories()) if category is None else columns.category == category
    )
    steps: dict[datetime, Counter[_Key]] = {}
    scores: dict[Decision, list[int]] = {}
    for at, told, verdict, score_bin, parts in connection.execute(query.where(of_category)):
        key = (Decision(told), Verdict(verdict) if verdict else None)
        steps.setdefault(at, Counter())[key] += int(parts)
        # Bin -1, without a score, is the list's last entry.
        scores.setdefault(key[0], [0] * (SCORE_BINS + 1))[score_bin] += int(parts)
    return Summary(
        period,
        [StepCounts(at, _counts(steps[at])) for at in sorted(steps)],
        [ScoreCounts(told, scores[told][:-1], scores[told][-1]) for told in sorted(scores)],
    )


def _start_of(step: Step) -> ColumnElement[datetime]:
    """Return the beginning of a roll-up's hour or day."""
    hour = type_coerce(rollups.c.hour, BigInteger)
    return type_coerce(hour - hour % (step.length // _MICROSECOND), Moment).label("start")


def _categories() -> Select[tuple[str]]:
    """Return a query of all categories that looks up one key for each."""
    first = select(func.min(rollups.c.category).label("category")).cte("found", recursive=True)
    following = select(func.min(rollups.c.category)).where(rollups.c.category > first.c.category)
    found = first.union_all(
        select(following.scalar_subquery()).where(first.c.category.is_not(None))
    )
    return select(found.c.category).where(found.c.category.is_not(None))


def _counts(parts: Counter[_Key]) -> list[Count]:
    ordered = sorted(parts.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    return [Count(*key, number) for key, number in ordered if number]

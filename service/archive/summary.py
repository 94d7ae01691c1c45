"""Counts inspections over time, from the roll-ups: never a scan of the inspections.

    totals = summarise(connection, Period(since, until, Step.DAY), category="solar-mono")

Hours and days are those of UTC. Inspections of origin `test` are not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, ColumnElement, Connection, func, select, type_coerce

from model.inspection import Decision
from service.archive.column_types import Moment
from service.archive.records import Verdict
from service.archive.store import hour_of
from service.archive.tables import SCORE_BINS, rollups
from service.inspection.submission import Origin

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
        parts: dict[tuple[Decision, Verdict | None], int] = {}
        for step in self.steps:
            for count in step.counts:
                key = (count.told, count.verdict)
                parts[key] = parts.get(key, 0) + count.parts
        return [Count(*key, number) for key, number in parts.items()]


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
    conditions = [columns.hour >= period.since, columns.hour < period.until]
    chosen = {columns.category: category, columns.station: station, columns.origin: origin}
    conditions += [column == value for column, value in chosen.items() if value is not None]
    return Summary(
        period,
        _steps(connection, conditions, period.step),
        _scores(connection, conditions),
    )


def _steps(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], step: Step
) -> list[StepCounts]:
    columns = rollups.c
    hour = type_coerce(columns.hour, BigInteger)
    start = type_coerce(hour - hour % (step.length // _MICROSECOND), Moment).label("start")
    parts = func.sum(columns.parts)
    query = select(start, columns.told, columns.verdict, parts).where(*conditions)
    query = query.group_by(start, columns.told, columns.verdict)
    query = query.having(parts > 0).order_by(start, columns.told, columns.verdict)
    counts: dict[datetime, list[Count]] = {}
    for at, told, verdict, number in connection.execute(query):
        count = Count(Decision(told), Verdict(verdict) if verdict else None, int(number))
        counts.setdefault(at, []).append(count)
    return [StepCounts(at, of_step) for at, of_step in counts.items()]


def _scores(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> list[ScoreCounts]:
    columns = rollups.c
    query = select(columns.told, columns.score_bin, func.sum(columns.parts)).where(*conditions)
    query = query.group_by(columns.told, columns.score_bin).order_by(columns.told)
    bins: dict[Decision, list[int]] = {}
    for told, number, parts in connection.execute(query):
        # Bin -1, without a score, is the list's last entry.
        bins.setdefault(Decision(told), [0] * (SCORE_BINS + 1))[number] = int(parts)
    return [ScoreCounts(told, of_told[:-1], of_told[-1]) for told, of_told in bins.items()]

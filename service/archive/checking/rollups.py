"""Compares the roll-ups with the rows that they count, a day at a time."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, func, select, text

from service.archive.checking.problems import Fault, Problem
from service.archive.column_types import Moment
from service.archive.retention.deletion import bounds_of
from service.archive.retention.sweep import Reading
from service.archive.tables import SCORE_BINS, inspections, rollups, thinned_hours

_Parts: TypeAlias = dict[tuple[Any, ...], int]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US = 3_600_000_000
_KEY = ("hour", "category", "node", "station", "told", "verdict", "score_bin", "origin")
_COUNT_ROWS = text(
    f"""
    SELECT received_at - received_at % {_HOUR_US} AS hour, category, node,
        coalesce(station, '') AS station, told, coalesce(verdict, '') AS verdict,
        CASE WHEN score IS NULL THEN -1
            ELSE min(CAST(score * {SCORE_BINS} AS INTEGER), {SCORE_BINS - 1}) END AS score_bin,
        origin, sum(repeats) AS parts
    FROM inspections
    WHERE received_at >= :since AND received_at < :until AND origin != 'test'
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    """
)
_READ_ROLLUPS = text(
    f"""
    SELECT {", ".join(_KEY)}, parts FROM rollups INDEXED BY rollups_by_hour
    WHERE hour >= :since AND hour < :until AND parts != 0
    """
)


def check_rollups(reading: Reading) -> Iterator[Problem]:
    """Yield the roll-ups that differ from the rows.

    In hours from which rows were deleted, a roll-up may count more than there are.
    """
    with reading() as connection:
        days = list(_days(connection))
    for day in days:
        since, until = map(_microseconds, bounds_of(day))
        with reading() as connection:
            bounds = {"since": since, "until": until}
            rows = _parts(connection.execute(_COUNT_ROWS, bounds).mappings())
            counted = _parts(connection.execute(_READ_ROLLUPS, bounds).mappings())
            thinned = _thinned(connection, day)
        for key in sorted(rows.keys() | counted.keys()):
            there, in_rollup = rows.get(key, 0), counted.get(key, 0)
            if there != in_rollup and not (key[0] in thinned and there < in_rollup):
                yield Problem(Fault.ROLLUP, _name(key), f"{in_rollup} parts, {there} in the rows")


def _days(connection: Connection) -> Iterator[date]:
    """Yield every day from the first row or roll-up to the last."""
    ends = [
        moment
        for column in (rollups.c.hour, inspections.c.received_at)
        for end in (func.min, func.max)
        if (moment := connection.execute(select(end(column, type_=Moment))).scalar())
    ]
    if ends:
        day, last = min(ends).date(), max(ends).date()
        while day <= last:
            yield day
            day += timedelta(days=1)


def _parts(rows: Any) -> _Parts:  # noqa: ANN401 - rows of a query
    return {tuple(row[name] for name in _KEY): row["parts"] for row in rows}


def _thinned(connection: Connection, day: date) -> set[int]:
    since, until = bounds_of(day)
    query = select(thinned_hours.c.hour).where(
        thinned_hours.c.hour >= since, thinned_hours.c.hour < until
    )
    return {_microseconds(hour) for hour in connection.execute(query).scalars()}


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _name(key: tuple[Any, ...]) -> str:
    values: Mapping[str, Any] = dict(zip(_KEY, key, strict=True))
    hour = _EPOCH + timedelta(microseconds=values["hour"])
    others = ", ".join(f"{name} {values[name]!r}" for name in _KEY[1:])
    return f"roll-up of {hour:%Y-%m-%d %H:00}, {others}"

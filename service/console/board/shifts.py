"""When the current shift began, in the plant's time zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

_AROUND = (-1, 0, 1)


@dataclass(frozen=True, slots=True)
class Shift:
    """From `since` to before `until`, in UTC."""

    since: datetime
    until: datetime


def shift_at(moment: datetime, starts: Sequence[time], zone: tzinfo) -> Shift:
    """Return the shift of a time; `starts` are wall-clock times, also where the clock is changed.

    >>> shift = shift_at(datetime(2026, 1, 1, 5, tzinfo=UTC), [time(6), time(18)], UTC)
    >>> f"{shift.since:%d %H} {shift.until:%d %H}"
    '31 18 01 06'
    """
    today = moment.astimezone(zone).date()
    begins = sorted(
        datetime.combine(today + timedelta(days=day), start, zone).astimezone(UTC)
        for day in _AROUND
        for start in starts
    )
    return Shift(
        max(begin for begin in begins if begin <= moment),
        min(begin for begin in begins if begin > moment),
    )

"""When recipes of the schedule are warmed, on days with and without a change of the clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from service.client import AsyncClient
from service.station.inspecting import Inspector
from service.station.schedule import Warmer, next_warming
from service.station.settings import ScheduleEntry, StationSettings

BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")
WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def entry(time, recipe=1, days=("mon", "tue", "wed", "thu", "fri", "sat", "sun")):
    return ScheduleEntry.model_validate({"at": time, "days": list(days), "recipe": recipe})


def moments(entries, zone, start, count):
    after, found = at(start), []
    for _ in range(count):
        after, recipes = next_warming(entries, zone, after)
        found.append((after.isoformat()[:16], *recipes))
    return found


def test_the_days_and_the_zone_count():
    entries = [entry("05:45", 2, WORKDAYS), entry("13:45", 1, ["sat"])]
    assert moments(entries, BERLIN, "2026-11-26T12:00", 4) == [
        ("2026-11-27T04:45", 2),
        ("2026-11-28T12:45", 1),
        ("2026-11-30T04:45", 2),
        ("2026-12-01T04:45", 2),
    ]


def test_a_moment_is_not_its_own_next_one():
    assert moments([entry("05:45")], UTC_ZONE, "2026-11-26T05:45", 1) == [("2026-11-27T05:45", 1)]


def test_recipes_of_one_moment_are_warmed_in_the_order_of_the_file():
    entries = [entry("06:00", 3), entry("06:00", 1), entry("06:00", 3)]
    assert moments(entries, UTC_ZONE, "2026-11-26T05:45", 1) == [("2026-11-26T06:00", 3, 1)]


@pytest.mark.parametrize(
    ("time", "start", "expected"),
    [
        # 29 March 2026: 02:00 becomes 03:00, so that 02:30 is left out.
        ("02:30", "2026-03-27T12:00", ["03-28T01:30", "03-29T01:30", "03-30T00:30"]),
        ("05:45", "2026-03-27T12:00", ["03-28T04:45", "03-29T03:45", "03-30T03:45"]),
        # 25 October 2026: 03:00 becomes 02:00, so that 02:30 comes twice.
        ("02:30", "2026-10-23T12:00", ["10-24T00:30", "10-25T00:30", "10-26T01:30"]),
        ("05:45", "2026-10-23T12:00", ["10-24T03:45", "10-25T04:45", "10-26T04:45"]),
    ],
)
def test_each_day_has_one_moment_when_the_clock_changes(time, start, expected):
    found = moments([entry(time)], BERLIN, start, 3)
    assert [moment for moment, _ in found] == [f"2026-{text}" for text in expected]


def test_a_zone_far_from_utc_has_its_own_days():
    auckland = ZoneInfo("Pacific/Auckland")
    assert moments([entry("05:45", 1, ["mon"])], auckland, "2026-11-28T00:00", 1) == [
        ("2026-11-29T16:45", 1)
    ]


def test_without_entries_there_is_no_moment():
    assert next_warming([], UTC_ZONE, at("2026-11-26T05:45")) is None


class Clock:
    """A clock that goes on only while the warmer sleeps; `jumps` are added at these moments."""

    def __init__(self, start, end, jumps=()):
        self.now_at = at(start)
        self._end = at(end)
        self._jumps = [(at(moment), by) for moment, by in jumps]

    def now(self):
        return self.now_at

    async def sleep(self, seconds):
        await asyncio.sleep(0)
        self.now_at += timedelta(seconds=seconds)
        for jump in list(self._jumps):
            if self.now_at >= jump[0]:
                self._jumps.remove(jump)
                self.now_at += jump[1]
        if self.now_at >= self._end:
            raise EndOfTimeError


class EndOfTimeError(Exception):
    pass


class Warmings(Inspector):
    """Notes the categories that are warmed, and when, instead of asking a service."""

    def __init__(self, settings, clock):
        super().__init__(settings, AsyncClient("http://127.0.0.1:9"))
        self._clock = clock
        self.warmed = []

    async def warm(self, category, timeout_s):
        self.warmed.append((self._clock.now_at.isoformat()[:16], category))

    async def test(self, category):
        pass


def settings_of(**changes):
    return StationSettings.model_validate(
        {
            "name": "EL-3",
            "cameras": {"top": {"folder": {"path": "shots"}}},
            "recipes": {
                1: {"categories": {"top": "bolt"}},
                2: {"categories": {"top": "nut"}},
            },
            "time_zone": "UTC",
            "schedule": [{"at": "05:45", "recipe": 2}],
            **changes,
        }
    )


def warmed(clock):
    settings = settings_of()
    inspector = Warmings(settings, clock)
    warmer = Warmer(settings, inspector, now=clock.now, sleep=clock.sleep)

    async def scenario():
        with pytest.raises(EndOfTimeError):
            await warmer.run()
        await inspector.close()

    asyncio.run(scenario())
    return [moment for moment, _ in inspector.warmed]


def test_a_recipe_is_warmed_once_at_each_moment():
    clock = Clock("2026-11-26T05:00", "2026-11-28T06:00")
    assert warmed(clock) == ["2026-11-26T05:45", "2026-11-27T05:45", "2026-11-28T05:45"]


def test_a_moment_that_the_clock_jumps_over_by_minutes_is_made_up_for():
    clock = Clock(
        "2026-11-26T05:00", "2026-11-26T07:00", [("2026-11-26T05:30", timedelta(minutes=20))]
    )
    assert warmed(clock) == ["2026-11-26T05:50"]


def test_one_that_it_jumps_over_by_hours_is_left_out():
    clock = Clock(
        "2026-11-26T05:00", "2026-11-27T07:00", [("2026-11-26T05:30", timedelta(hours=3))]
    )
    assert warmed(clock) == ["2026-11-27T05:45"]


def test_a_clock_that_is_set_back_does_not_stop_the_schedule():
    clock = Clock(
        "2026-11-26T05:00", "2026-11-20T07:00", [("2026-11-26T06:00", timedelta(days=-7))]
    )
    clock._end = at("2026-11-27T00:00")
    assert warmed(clock)[:3] == ["2026-11-26T05:45", "2026-11-20T05:45", "2026-11-21T05:45"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_zone": None}, "needs time_zone"),
        ({"time_zone": "Europe/Nowhere"}, "'Europe/Nowhere' is unknown"),
        ({"time_zone": "../../etc/passwd"}, "is unknown"),
        ({"schedule": [{"at": "05:45", "recipe": 9}]}, "recipe 9 is not in recipes"),
        ({"schedule": [{"at": 945, "recipe": 1}]}, "expected a time in quotes"),
        ({"schedule": [{"at": "5:45", "recipe": 1}]}, "expected a time in quotes"),
        ({"schedule": [{"at": "25:45", "recipe": 1}]}, "valid time"),
        ({"schedule": [{"at": "05:45", "recipe": 1, "days": []}]}, "at least 1 item"),
        ({"schedule": [{"at": "05:45", "recipe": 1, "days": ["noday"]}]}, "'mon', 'tue'"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        settings_of(**changes)

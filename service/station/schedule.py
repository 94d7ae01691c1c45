"""Warms recipes ahead of time, at the times of the day that `schedule` in station.yaml names.

    moment, recipes = next_warming(settings.schedule, ZoneInfo("Europe/Berlin"), after=now)
    warmer = Warmer(settings, inspector)
    await warmer.run()

The active recipe stays the active one. The clock of the wall counts: a time that the change to
summer time skips comes as much later as the clock jumps; a time that the change back repeats counts
once, the first time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from service.client import InspectionError
from service.station.inspecting import Inspector
from service.station.reports import ScheduleState, Warming
from service.station.settings import ScheduleEntry, StationSettings
from service.station.warming import warm_recipe

logger = logging.getLogger("service.schedule")

_LOOK_EVERY = timedelta(seconds=30)
"""The clock may be set while the station waits."""
_STALE = timedelta(hours=1)
"""A time that the clock has jumped over by more than this is left out."""
_TRY_FOR_S = 1_800.0
_DAYS_AHEAD = 8


def next_warming(
    entries: Sequence[ScheduleEntry], zone: ZoneInfo, after: datetime
) -> tuple[datetime, tuple[int, ...]] | None:
    """Return the first moment after `after` (UTC), and its recipes; None without entries."""
    today = after.astimezone(zone).date()
    moments: dict[datetime, list[int]] = {}
    for entry in entries:
        for offset in range(-1, _DAYS_AHEAD):
            day = today + timedelta(days=offset)
            moment = datetime.combine(day, entry.at, zone).astimezone(UTC)
            if moment > after and day.weekday() in entry.weekdays:
                moments.setdefault(moment, []).append(entry.recipe)
    if not moments:
        return None
    first = min(moments)
    return first, tuple(dict.fromkeys(moments[first]))


class Warmer:
    """Warms the recipes of the schedule, one after another; `now` returns the time in UTC."""

    def __init__(
        self,
        settings: StationSettings,
        inspector: Inspector,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._entries = settings.schedule
        self._zone = ZoneInfo(settings.time_zone) if settings.time_zone else ZoneInfo("UTC")
        self._inspector = inspector
        self._now = now
        self._sleep = sleep
        self.state = ScheduleState()

    async def run(self) -> None:
        """Warm at each moment of the schedule, until it is cancelled."""
        after = self._now()
        while due := next_warming(self._entries, self._zone, after):
            moment, recipes = due
            self.state = replace(self.state, next_at=moment, next_recipe=recipes[0])
            now = self._now()
            if now < moment:
                await self._sleep(min(_LOOK_EVERY, moment - now).total_seconds())
                after = min(after, self._now())  # the clock may have been set back
                continue
            after = now
            if now - moment > _STALE:
                logger.warning("the clock jumped over the schedule's %s", moment.isoformat())
                continue
            for recipe in recipes:
                await self._warm(recipe)

    async def _warm(self, recipe: int) -> None:
        """Warm a recipe, and note how that ended."""
        warming = Warming(recipe, self._now())
        self.state = replace(self.state, latest=warming)
        try:
            await warm_recipe(self._inspector, recipe, _TRY_FOR_S)
        except (InspectionError, TimeoutError) as error:
            text = str(error) or "out of time"
            logger.warning("recipe %d of the schedule cannot be warmed: %s", recipe, text)
            warming = replace(warming, is_done=False, text=text)
        else:
            took_s = (self._now() - warming.began_at).total_seconds()
            warming = replace(warming, is_done=True, text=f"warm in {took_s:.1f} s")
        self.state = replace(self.state, latest=warming)

"""Settings of the schedule, which warms recipes ahead of time."""

from datetime import time
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from service.station.settings.base import StationRoom

Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _time_of_day(value: Any) -> Any:  # noqa: ANN401 - what the file has
    """YAML reads 15:45 without quotes as a number."""
    if not isinstance(value, str) or len(value) != len("05:45"):
        raise ValueError(f'expected a time in quotes, such as "05:45", got {value!r}')
    return value


class ScheduleEntry(StationRoom):
    """A recipe that is warmed at a time of the day."""

    at: Annotated[time, BeforeValidator(_time_of_day)] = Field(
        description='time of the day in `time_zone`, in quotes, such as `"05:45"`'
    )
    days: tuple[Day, ...] = Field(_WEEK, min_length=1, description="days of the week")
    recipe: int = Field(description="recipe whose categories are warmed")

    @property
    def weekdays(self) -> frozenset[int]:
        """The days as numbers; 0 is Monday."""
        return frozenset(_WEEK.index(day) for day in self.days)

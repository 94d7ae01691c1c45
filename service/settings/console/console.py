"""Settings of `service.console`: sessions, languages, shifts."""

import re
from datetime import UTC, time, tzinfo
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from service.settings.room import CommaSeparated, RoomSettings

_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_ANCESTOR = re.compile(r"'self'|https?://[A-Za-z0-9.*\-\[\]:]+")


class ConsoleSettings(RoomSettings):
    """Variables named `MAMBAAD_CONSOLE__<FIELD>`."""

    enabled: bool = Field(True, description="serve the pages for people")
    language: Literal["en", "de", "zh"] = Field(
        "en", description="language of browsers that ask for none of en, de and zh"
    )
    time_zone: str = Field(
        "UTC", description="the plant's time zone, as in the IANA list: Europe/Berlin"
    )
    shift_starts: CommaSeparated = Field(
        ("06:00", "14:00", "22:00"),
        description="when shifts begin, in the plant's time zone, separated by commas",
    )
    cookie_life_s: float = Field(
        30 * 86_400.0, ge=60, description="how long a browser stays signed in without a visit"
    )
    idle_timeout_s: float = Field(
        1800.0,
        ge=10,
        description="how long a key with the scope review or admin stays signed in without a click",
    )
    plain_http_admin: bool = Field(
        False,
        description="allow browsers on other machines to do more than read and review without TLS",
    )
    frame_ancestors: CommaSeparated = Field(
        (), description="origins whose pages may embed the console, separated by commas"
    )
    signing_key_file: Path | None = Field(
        None,
        description="file of the key that signs cookies, made if it is missing; by default in the "
        "state folder. Services behind one address share it",
    )
    review_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the OK parts, chosen at random, that the page Review asks about",
    )
    samples_dir: Path | None = Field(
        None,
        description="folder of <category>/<image>, offered on the page Try; by default `samples` "
        "next to the weights",
    )

    @field_validator("time_zone")
    @classmethod
    def _check_zone(cls, name: str) -> str:
        _zone(name)
        return name

    @field_validator("shift_starts")
    @classmethod
    def _check_starts(cls, starts: tuple[str, ...]) -> tuple[str, ...]:
        if not starts or not all(_TIME.fullmatch(start) for start in starts):
            raise ValueError(f"expected times such as 06:00,14:00,22:00, got {','.join(starts)!r}")
        return tuple(sorted(set(starts)))

    @field_validator("frame_ancestors")
    @classmethod
    def _check_ancestors(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [origin for origin in origins if not _ANCESTOR.fullmatch(origin)]
        if wrong:
            raise ValueError(f"expected 'self' or origins like https://scada.example, got {wrong}")
        return origins

    @property
    def zone(self) -> tzinfo:
        """The plant's time zone."""
        return _zone(self.time_zone)

    @property
    def shifts(self) -> tuple[time, ...]:
        """When shifts begin, earliest first."""
        return tuple(time.fromisoformat(start) for start in self.shift_starts)


def _zone(name: str) -> tzinfo:
    """Return a time zone. Raises `ValueError`."""
    if name == "UTC":  # also where the machine has no list of zones
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"expected a time zone of this machine's list, such as Europe/Berlin, got {name!r}"
        ) from error

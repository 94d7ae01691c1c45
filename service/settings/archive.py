"""Settings of `service.archive`: what is kept of every inspection, where, and for how long."""

import socket
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from service.settings.room import RoomSettings

_SHARE_OF_DECISION = {"OK": 0.01, "NG": 1.0, "REVIEW": 1.0, "UNDECIDED": 1.0}
_DAYS_OF_DECISION = {"OK": 30.0, "NG": 30.0, "REVIEW": 30.0, "UNDECIDED": 30.0}


class ArchiveSettings(RoomSettings):
    """Variables named `MAMBAAD_ARCHIVE__<FIELD>`.

    The archive is in the folder `archive` of the state folder; without a state folder there is
    none.
    """

    enabled: bool = Field(True, description="false keeps no inspection")
    node: str = Field(
        "", max_length=100, pattern=r"^[A-Za-z0-9._-]*$",
        description="this service's name in the archive; empty: the machine's host name",
    )  # fmt: skip
    site: str = Field(
        "site", max_length=100, pattern=r"^[A-Za-z0-9._ -]+$", description="the plant's name"
    )
    url: str | None = Field(
        None,
        description="SQLAlchemy URL of the PostgreSQL that is searched; None: this node's journal",
    )
    durability: Literal["before_answer", "after_answer"] = Field(
        "before_answer",
        description="before_answer: an answered inspection is on disk; after_answer: it is soon",
    )
    on_failure: Literal["answer", "refuse"] = Field(
        "answer",
        description="while the journal cannot be written: answer inspects and answers "
        '`"archived": false`; refuse answers 503, UNDECIDED',
    )
    keep_images: Annotated[dict[str, float], NoDecode] = Field(
        default_factory=lambda: dict(_SHARE_OF_DECISION),
        description="fraction of images and raw maps kept, by decision: `OK=0.01,NG=1`",
    )
    rows_days: float = Field(730, gt=0, description="how long inspections are kept, in days")
    rows_bytes: int = Field(
        50 * 10**9, ge=2**20, description="bytes of the journal; beyond it the oldest rows go"
    )
    media_days: Annotated[dict[str, float], NoDecode] = Field(
        default_factory=lambda: dict(_DAYS_OF_DECISION),
        description="how long images and raw maps are kept, in days, by decision: `OK=7,NG=365`",
    )
    media_bytes: int = Field(
        10 * 10**9, ge=2**20, description="bytes of images and raw maps; beyond it the oldest go"
    )
    min_free_bytes: int = Field(
        2 * 10**9, ge=0, description="with less free disk space no image or raw map is kept"
    )
    retention_interval_s: float = Field(
        60.0, gt=0, description="time between two runs of the retention"
    )
    max_pending: int = Field(
        10_000, ge=1, description="inspections that may wait for the disk at once"
    )

    @property
    def node_name(self) -> str:
        """The node's name, by default that of the machine."""
        return self.node or socket.gethostname()

    @field_validator("keep_images", "media_days", mode="before")
    @classmethod
    def _read_pairs(cls, value: object) -> object:
        """Read `OK=0.01,NG=1`."""
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        return {name.strip(): number.strip() for name, _, number in pairs}

    @field_validator("keep_images")
    @classmethod
    def _check_shares(cls, shares: dict[str, float]) -> dict[str, float]:
        if wrong := [share for share in shares.values() if not 0 <= share <= 1]:
            raise ValueError(f"expected fractions from 0 to 1, got {wrong[0]:g}")
        return _complete(shares, _SHARE_OF_DECISION)

    @field_validator("media_days")
    @classmethod
    def _check_days(cls, days: dict[str, float]) -> dict[str, float]:
        if wrong := [number for number in days.values() if not 0 <= number <= 36_500]:
            raise ValueError(f"expected days from 0 to 36500, got {wrong[0]:g}")
        return _complete(days, _DAYS_OF_DECISION)


def _complete(given: dict[str, float], defaults: dict[str, float]) -> dict[str, float]:
    """Return the given values by decision, and the defaults of the others."""
    if unknown := sorted(given.keys() - defaults.keys()):
        raise ValueError(f"expected one of {', '.join(defaults)}, got {unknown[0][:50]!r}")
    return {**defaults, **given}

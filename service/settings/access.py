"""Settings of `service.access`: keys, rates and origins."""

import re
from pathlib import Path

from pydantic import Field, field_validator

from service.settings.room import CommaSeparated, RoomSettings

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


class AccessSettings(RoomSettings):
    """Variables named `MAMBAAD_ACCESS__<FIELD>`."""

    api_keys_file: Path | None = Field(
        None, description="file of the accepted keys, written by `mambaad keys`"
    )
    keys_grace_s: float = Field(
        900.0,
        ge=0,
        description="how long the last read keys stay valid while their file is unreadable",
    )
    allow_anonymous: bool = Field(
        False, description="serve other machines without a key; without this, only loopback"
    )
    metrics_require_key: bool = Field(
        False, description="require a key, of any scope, for GET /metrics"
    )
    rate_limit_per_s: float | None = Field(
        None,
        gt=0,
        description="images a second for each address, and for each key without a rate",
    )
    cors_origins: CommaSeparated = Field(
        (), description="web origins whose pages may send requests, separated by commas"
    )

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [origin for origin in origins if not _ORIGIN.fullmatch(origin)]
        if wrong:
            raise ValueError(f"expected origins like https://line-7.example:8443, got {wrong}")
        return origins

"""Settings of `service.versions`, and of the state that several nodes share (`service.shared`)."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from service.settings.room import RoomSettings
from service.settings.secrets import HasPassword, check_url


class VersionSettings(RoomSettings):
    """Variables named `MAMBAAD_VERSIONS__<FIELD>`."""

    weights_dir: Path = Field(Path("weights"), description="the checkpoint store to serve from")
    state_dir: Path | None = Field(
        None, description="folder to keep routes, thresholds and inspections; None: only in memory"
    )


class StateSettings(HasPassword):
    """Variables named `MAMBAAD_STATE__<FIELD>`."""

    url: str | None = Field(
        None,
        max_length=2000,
        description="postgresql://USER@HOST/DATABASE of the state that nodes share, without a "
        "password, with TLS as in `?sslmode=verify-full&sslrootcert=ca.pem`; None: this node's "
        "state folder and keys file",
    )
    poll_s: float = Field(
        5.0, gt=0, le=3600, description="time between two looks at the state, beside notifications"
    )
    timeout_s: float = Field(
        5.0, gt=0, le=60, description="how long the PostgreSQL may take to answer"
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if "password" in dict(parse_qsl(urlsplit(url).query)):
            raise ValueError("expected a URL without a password, which goes into a file of its own")
        return check_url(url, ("postgresql", "postgresql+psycopg"))

"""Settings of `service.shared`: the PostgreSQL that several nodes take routes and keys from."""

from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from service.settings.secrets import HasPassword, check_url


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

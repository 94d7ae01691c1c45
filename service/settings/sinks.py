"""Settings of each kind of sink: where results go, and how fast.

[sinks.mes]                       # in the file that MAMBAAD_DELIVERY__FILE names
type = "mqtt"
host = "broker.plant.example"
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, SecretStr, field_validator, model_validator

from service.settings.room import RoomSettings
from service.settings.secrets import HasPassword, check_one, check_url, read_secret

EventName = Literal["inspection", "update", "verdict", "hold"]
DecisionName = Literal["OK", "NG", "REVIEW", "UNDECIDED"]

TOPIC_FIELDS = frozenset({"site", "service", "node", "station", "category", "kind", "decision"})
"""What a topic template may contain, in braces."""


class CommonSettings(RoomSettings):
    """What every sink has."""

    events: tuple[EventName, ...] = Field(
        ("inspection", "update", "verdict", "hold"), min_length=1, description="kinds sent"
    )
    decisions: tuple[DecisionName, ...] = Field(
        ("OK", "NG", "REVIEW", "UNDECIDED"),
        min_length=1,
        description="events of parts with these decisions are sent (what the line was told)",
    )
    start: Literal["newest", "oldest"] = Field(
        "newest", description="where a new sink starts: after the newest event, or at the oldest"
    )
    max_per_s: float = Field(
        100.0, gt=0, le=100_000, description="events a second, so that a backlog slows nothing"
    )
    timeout_s: float = Field(10.0, ge=0.1, le=600, description="time limit of an acknowledgement")
    backoff_s: float = Field(0.5, gt=0, description="pause after a failure; doubles with each")
    max_backoff_s: float = Field(30.0, gt=0, le=3600, description="longest such pause")
    max_dead_letters: int = Field(
        10_000, ge=0, description="dead letters kept; beyond it the oldest are forgotten"
    )

    @model_validator(mode="after")
    def _check_backoff(self) -> "CommonSettings":
        if self.max_backoff_s < self.backoff_s:
            raise ValueError(
                f"expected max_backoff_s of at least backoff_s ({self.backoff_s:g}), "
                f"got {self.max_backoff_s:g}"
            )
        return self


class TlsSettings(RoomSettings):
    """Certificates; paths of PEM files."""

    ca_file: Path | None = Field(
        None, description="certificates to trust; by default those of the system"
    )
    certificate_file: Path | None = Field(None, description="the client's certificate")
    key_file: Path | None = Field(None, description="the key of the client's certificate")

    @model_validator(mode="after")
    def _check_certificate(self) -> "TlsSettings":
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("expected certificate_file and key_file together, got one of them")
        return self


class MqttSettings(CommonSettings, HasPassword, TlsSettings):
    """An MQTT broker."""

    type: Literal["mqtt"]
    host: str = Field(min_length=1, max_length=255, description="the broker's address")
    port: int | None = Field(None, ge=1, le=65535, description="by default 1883, with TLS 8883")
    tls: bool = Field(False, description="encrypt the connection, and check the certificate")
    username: str | None = Field(None, description="the user")
    client_id: str | None = Field(
        None, min_length=1, max_length=200,
        description="by default made of site, node and sink",
    )  # fmt: skip
    protocol: Literal["5", "3.1.1"] = Field("5", description="version of MQTT")
    topic: str = Field(
        "mambaad/{site}/{station}/{category}/result",
        min_length=1, max_length=1000,
        description="topic of each event",
    )  # fmt: skip
    state_topic: str = Field(
        "mambaad/{site}/{service}/state",
        max_length=1000,
        description="topic of `online` or `offline`, retained; empty: none",
    )
    max_inflight: int = Field(
        20, ge=1, le=65535, description="messages that are not yet acknowledged"
    )
    max_inflight_of_station: int = Field(
        1, ge=1, le=65535,
        description="of these, messages of one station; with more than 1, a message that the "
        "broker refuses and takes later may first arrive after newer ones",
    )  # fmt: skip
    keepalive_s: int = Field(30, ge=5, le=65535, description="longest silence of the connection")

    @field_validator("topic", "state_topic")
    @classmethod
    def _check_topic(cls, template: str) -> str:
        """Refuse unknown fields, wildcards and characters that brokers refuse."""
        words = set()
        rest = template
        while "{" in rest or "}" in rest:
            before, _, rest = rest.partition("{")
            word, brace, rest = rest.partition("}")
            if not brace or "}" in before:
                raise ValueError(f"expected braces in pairs, got {template!r}")
            words.add(word)
        if unknown := sorted(words - TOPIC_FIELDS):
            raise ValueError(
                f"expected fields of {', '.join(sorted(TOPIC_FIELDS))}, got {unknown[0]!r}"
            )
        if set("+#") & set(template) or not template.isprintable():
            raise ValueError(f"expected a topic without `+`, `#` and controls, got {template!r}")
        return template

    @field_validator("state_topic")
    @classmethod
    def _check_state_topic(cls, template: str) -> str:
        for field in ("station", "category", "kind", "decision"):
            if f"{{{field}}}" in template:
                raise ValueError(f"expected a topic of the service, got {{{field}}}, a part's")
        return template

    @model_validator(mode="after")
    def _check_access(self) -> "MqttSettings":
        given = (self.ca_file, self.certificate_file)
        if not self.tls and any(path is not None for path in given):
            raise ValueError("expected tls = true with ca_file or certificate_file")
        has_password = self.password_file is not None or self.password_variable is not None
        if has_password and self.username is None:
            raise ValueError("expected username with the password")
        return self

    @property
    def port_or_default(self) -> int:
        """The port to connect to."""
        return self.port or (8883 if self.tls else 1883)


class WebhookSettings(CommonSettings, TlsSettings):
    """An HTTP receiver; every body is signed with the secret."""

    type: Literal["webhook"]
    url: str = Field(max_length=2000, description="where each event is posted to")
    secret_file: Path | None = Field(None, description="file that holds the signing secret alone")
    secret_variable: str | None = Field(
        None, min_length=1, description="variable of the environment that holds the secret"
    )
    token_file: Path | None = Field(
        None, description="file that holds a token, sent as `Authorization: Bearer`"
    )
    token_variable: str | None = Field(
        None, min_length=1, description="variable of the environment that holds the token"
    )
    proxy: str | None = Field(None, max_length=2000, description="URL of an HTTP proxy")

    @field_validator("url", "proxy")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        return None if url is None else check_url(url, ("http", "https"))

    @model_validator(mode="after")
    def _check_secrets(self) -> "WebhookSettings":
        check_one("secret", self.secret_file, self.secret_variable)
        check_one("token", self.token_file, self.token_variable)
        if self.secret_file is None and self.secret_variable is None:
            raise ValueError("expected secret_file or secret_variable: bodies are signed")
        return self

    def secret(self) -> SecretStr:
        """Read the signing secret. Raises `SecretUnreadable`."""
        secret = read_secret(self.secret_file, self.secret_variable)
        assert secret is not None, "checked by `_check_secrets`"
        return secret

    def token(self) -> SecretStr | None:
        """Read the token; None if there is none. Raises `SecretUnreadable`."""
        return read_secret(self.token_file, self.token_variable)


class FolderSettings(CommonSettings):
    """A folder of files of JSON Lines."""

    type: Literal["folder"]
    path: Path = Field(description="the folder; created if its parent exists")
    close_after_s: float = Field(60.0, gt=0, description="how long a file takes lines")
    max_lines: int = Field(1000, ge=1, description="lines of a file")
    images: bool = Field(
        False, description="put the images that the archive keeps beside the files"
    )


class PostgresqlSettings(CommonSettings, HasPassword):
    """The central archive in PostgreSQL."""

    type: Literal["postgresql"]
    url: str = Field(
        max_length=2000, description="postgresql://USER@HOST/DATABASE, without a password"
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_url(url, ("postgresql", "postgresql+psycopg"))


SinkSettings: TypeAlias = Annotated[
    MqttSettings | WebhookSettings | FolderSettings | PostgresqlSettings,
    Field(discriminator="type"),
]

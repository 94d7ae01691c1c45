"""Settings of doors whose clients send requests: MQTT, HTTP, and a folder of triggers."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from service.station.settings.base import LOOPBACK, Milliseconds, Network, StationRoom


class RequestDoorSettings(StationRoom):
    """What the station remembers of requests, so that a repeated one inspects no second part."""

    door: ClassVar[str]
    """The kind of the door."""

    answers_folder: Path = Field(
        Path("station-answers"), description="folder of the latest answers, on a local disk"
    )
    repeat_s: float = Field(
        600, ge=1, le=86_400, description="a trigger of the same number and part id is a repeat"
    )
    max_answers: int = Field(
        1_000, ge=10, le=100_000, description="answers that are remembered, and that may wait"
    )


class MqttDoorSettings(RequestDoorSettings):
    """Commands and replies through an MQTT broker."""

    door: ClassVar[str] = "mqtt"

    host: str = Field(min_length=1, max_length=255, description="address of the broker")
    port: int = Field(1883, ge=1, le=65_535, description="port of the broker; 8883 for TLS")
    topic: str = Field(
        min_length=1,
        max_length=500,
        description="topics begin with this, such as `plant/line-4/EL-3`; each station has its own",
    )
    tls: bool = Field(False, description="encrypt, and check the broker's certificate")
    ca_file: Path | None = Field(
        None, description="certificates to trust; by default those of the system"
    )
    certificate_file: Path | None = Field(None, description="the station's certificate, PEM")
    key_file: Path | None = Field(None, description="key of the station's certificate")
    user: str | None = Field(None, min_length=1, description="name of the user")
    password_file: Path | None = Field(None, description="file with the user's password")
    client_id: str | None = Field(
        None, min_length=1, max_length=200, description="by default made of `topic`"
    )
    protocol: Literal["5", "3.1.1"] = Field(
        "5", description="version of MQTT; 3.1.1 has no response topics"
    )
    keepalive_s: int = Field(10, ge=5, le=3_600, description="longest silence of the connection")
    timeout_ms: Milliseconds = Field(5_000, description="a broker without an answer is away")

    @field_validator("topic")
    @classmethod
    def _check_topic(cls, topic: str) -> str:
        if set("+#") & set(topic) or not topic.isprintable() or topic.startswith(("/", "$")):
            raise ValueError(f"expected a topic without `+`, `#`, `$` or a first `/`, got {topic}")
        if topic.endswith("/"):
            raise ValueError(f"expected a topic without `/` at its end, got {topic}")
        return topic

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        _check_together(self.certificate_file, self.key_file)
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("expected `tls: true` with ca_file or certificate_file")
        if self.password_file is not None and self.user is None:
            raise ValueError("expected `user` with password_file")
        return self


class HttpDoorSettings(RequestDoorSettings):
    """The HTTP server that takes triggers."""

    door: ClassVar[str] = "http"

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8031, ge=0, le=65_535, description="port to listen on")
    allow: tuple[Network, ...] = Field(
        LOOPBACK, description="networks of the clients that may connect"
    )
    token_file: Path | None = Field(
        None, description="file with a token that clients send as `Authorization: Bearer`"
    )
    certificate_file: Path | None = Field(
        None, description="the server's certificate, PEM; the address is https:// then"
    )
    key_file: Path | None = Field(None, description="key of the server's certificate")
    max_clients: int = Field(32, ge=1, le=1_000, description="connections at a time")

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        _check_together(self.certificate_file, self.key_file)
        return self


class FolderDoorSettings(RequestDoorSettings):
    """A folder into which a program writes a file for each trigger."""

    door: ClassVar[str] = "folder"

    path: Path = Field(description="folder that receives the triggers; it must exist")
    poll_ms: Milliseconds = Field(50, description="pause between two looks into the folder")
    stable_ms: Milliseconds = Field(
        2_000, description="a file that is no JSON object is refused when unchanged for this long"
    )
    max_results: int = Field(
        1_000, ge=10, le=100_000, description="files that stay in `results` and in `refused`"
    )
    results_s: float = Field(
        86_400, ge=60, description="older files in `results` and `refused` are deleted"
    )


def _check_together(certificate: Path | None, key: Path | None) -> None:
    if (certificate is None) != (key is None):
        raise ValueError("expected certificate_file and key_file together, got one of them")

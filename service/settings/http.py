"""Settings of `service.http`: address, and limits of connections and requests."""

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator

from service.settings.room import CommaSeparated, RoomSettings


class HttpSettings(RoomSettings):
    """Variables named `MAMBAAD_HTTP__<FIELD>`."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    trusted_proxies: CommaSeparated = Field(
        (), description="addresses or networks of proxies whose X-Forwarded-For is trusted"
    )

    tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate and its chain; with it, the service is https"
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's key")
    tls_key_password_file: Path | None = Field(
        None, description="file with the password of an encrypted key"
    )

    connection_limits: bool = Field(
        True, description="false uses uvicorn's plain connections, without limits on headers"
    )
    max_connections: int = Field(1024, ge=1, le=100_000, description="open connections")
    max_header_bytes: int = Field(32 * 2**10, ge=1024, description="bytes of a request's headers")
    max_request_bytes: int = Field(
        256 * 2**20, ge=1, description="bytes of one request body, or of one answer's heatmaps"
    )
    max_inflight_bytes: int = Field(
        2 * 2**30, ge=1, description="bytes of all request bodies and heatmaps in memory"
    )

    request_timeout_ms: float = Field(30_000.0, gt=0, description="time limit of a request")
    header_timeout_s: float = Field(10.0, gt=0, description="time limit to receive the headers")
    body_timeout_s: float = Field(
        20.0, gt=0, description="time limit to receive a body; received bytes extend it"
    )
    min_body_bytes_per_s: int = Field(
        10_000, ge=1, description="each so many received bytes extend the limit by 1 s"
    )
    send_timeout_s: float = Field(
        30.0, gt=0, description="time limit for a client to receive the answer"
    )
    keep_alive_s: float = Field(60.0, gt=0, description="time limit of an idle connection")
    shutdown_grace_s: float = Field(
        2.0, ge=0, description="how long to accept requests after SIGTERM, while not ready"
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ipaddress.ip_network(proxy)
        return proxies

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls_certificate is not None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach `host`."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

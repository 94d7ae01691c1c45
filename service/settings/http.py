"""Settings of `service.http`: the address, and the limits of connections and requests."""

import ipaddress

from pydantic import Field, field_validator

from service.settings.room import CommaSeparated, RoomSettings


class HttpSettings(RoomSettings):
    """Variables named `MAMBAAD_HTTP__<FIELD>`."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    trusted_proxies: CommaSeparated = Field(
        (), description="addresses or networks whose X-Forwarded-For tells the client's address"
    )

    connection_limits: bool = Field(
        True, description="false serves by uvicorn's own connections, without limits on headers"
    )
    max_connections: int = Field(1024, ge=1, le=100_000)
    max_header_bytes: int = Field(32 * 2**10, ge=1024)
    max_request_bytes: int = Field(256 * 2**20, ge=1)
    max_inflight_bytes: int = Field(
        2 * 2**30, ge=1, description="of request bodies that are held at once"
    )

    request_timeout_ms: float = Field(30_000.0, gt=0)
    header_timeout_s: float = Field(10.0, gt=0, description="for a request's headers to arrive")
    body_timeout_s: float = Field(20.0, gt=0, description="for a body, and more as it arrives")
    min_body_bytes_per_s: int = Field(10_000, ge=1, description="what earns a body more time")
    send_timeout_s: float = Field(30.0, gt=0, description="for a client to take the answer")
    keep_alive_s: float = Field(60.0, gt=0, description="for a connection to lie idle")
    shutdown_grace_s: float = Field(
        2.0, ge=0, description="to serve on after SIGTERM, no longer ready"
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ipaddress.ip_network(proxy)
        return proxies

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address that is listened on."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

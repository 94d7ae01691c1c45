"""Settings of the OPC UA server."""

from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from service.station.settings.base import LOOPBACK, Network, StationRoom


class OpcUaSettings(StationRoom):
    """The OPC UA server to which the PLC or a SCADA system connects."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(4840, ge=0, le=65_535, description="port to listen on")
    allow: tuple[Network, ...] = Field(
        LOOPBACK, description="networks of the clients that may connect"
    )
    max_clients: int = Field(16, ge=1, le=256, description="connections at a time")
    certificate: Path | None = Field(
        None, description="certificate of the server, DER or PEM; its URI is the application's"
    )
    key: Path | None = Field(None, description="private key of the certificate, PEM")
    trusted: Path | None = Field(
        None, description="folder with the certificates of the clients that may connect"
    )
    users: Path | None = Field(
        None, description="file with users, roles and hashed passwords (`station opcua-user`)"
    )
    no_security: bool = Field(
        False, description="also offer connections without certificates; only on loopback"
    )
    anonymous: Literal["read", "command"] | None = Field(
        None, description="role of clients without a user's name; only on loopback"
    )
    max_results: int = Field(
        200, ge=1, le=10_000, description="results that clients can ask for, the newest"
    )

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        files = (self.certificate, self.key, self.trusted)
        if any(files) and not all(files):
            raise ValueError("certificate, key and trusted belong together: name all three")
        if not all(files) and not self.no_security:
            raise ValueError(
                "name certificate, key and trusted, or set no_security for trials on this machine"
            )
        if self.users is None and self.anonymous is None:
            raise ValueError(
                "nobody could log in: name users, or set anonymous for trials on this machine"
            )
        if (self.no_security or self.anonymous) and not _is_loopback(self.host):
            raise ValueError(
                "no_security and anonymous are for this machine alone: expected the host "
                f"127.0.0.1, got {self.host}"
            )
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""The base of every part of `station.yaml`, and the types that several of them use."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Name: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][\w.-]*$")
]
Milliseconds: TypeAlias = Annotated[float, Field(ge=1, le=3_600_000)]
Network: TypeAlias = IPv4Network | IPv6Network
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"),)


class StationRoom(BaseModel):
    """The base of a part of `station.yaml`: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def allows(networks: Iterable[Network], host: str) -> bool:
    """Return whether a client's address, as its socket has it, is in one of the networks.

    A socket that listens on IPv6 has an IPv4 client as `::ffff:10.0.0.5`: that is 10.0.0.5.
    """
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)

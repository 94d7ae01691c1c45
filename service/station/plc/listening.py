"""Why a door cannot listen, in words."""

import errno
import socket

from service.station.plc.door import DoorClosed

_REASONS = {
    errno.EADDRINUSE: "another program has the port; if it is the station, stop that first",
    errno.EACCES: "a port below 1024 needs root, or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "the address is not of this machine",
}


def try_to_listen(host: str, port: int, protocol: str) -> None:
    """Listen for a moment. Raises `DoorClosed`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise cannot_listen(host, port, protocol, error) from error


def cannot_listen(host: str, port: int, protocol: str, error: OSError) -> DoorClosed:
    """Return the error of an address that cannot be used."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return DoorClosed(f"cannot listen on {host}:{port} for {protocol}: {reason}")

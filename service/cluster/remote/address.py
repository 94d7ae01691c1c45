"""Whether anything answers at the address of a Ray head: known in seconds, without Ray."""

import socket

_KNOCK_S = 2.0


def knock(address: str) -> None:
    """Raise `OSError` if nothing answers at HOST:PORT, for which Ray would wait for long.

    Does nothing for an address without a port: Ray looks for such a head itself.
    """
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()

"""What the service and a decode child send each other: a head in JSON, and bytes behind it.

JSON and not pickle: what a child answers was made from a stranger's bytes. A socket and not shared
memory: nothing is left over when a child is killed, and 50 megapixels pass in a tenth of a second.
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

_LENGTH = struct.Struct("<I")
_MAX_HEAD_BYTES = 2**20

Head = Mapping[str, Any]


def send(connection: socket.socket, head: Head, *bodies: bytes | memoryview) -> None:
    """Send a message. Raises `OSError` where nobody is there to take it."""
    text = json.dumps({**head, "sizes": [len(body) for body in bodies]}).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)
    for body in bodies:
        connection.sendall(body)


def receive(connection: socket.socket, max_bytes: int) -> tuple[Head, list[memoryview]]:
    """Return a message of no more than `max_bytes` behind its head.

    Raises `EOFError` where the other side ended, and `OSError` for a message that cannot be.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > _MAX_HEAD_BYTES:
        raise OSError(f"a message's head may have {_MAX_HEAD_BYTES} bytes, got {length}")
    head = json.loads(bytes(_exactly(connection, length)))
    if sum(head["sizes"]) > max_bytes:
        raise OSError(f"a message may have {max_bytes} bytes, got {sum(head['sizes'])}")
    return head, [_exactly(connection, size) for size in head["sizes"]]


def _exactly(connection: socket.socket, count: int) -> memoryview:
    # Not a bytearray: filling that with zeros first would hold the interpreter for as long.
    view, at = np.empty(count, np.uint8).data, 0
    while at < count:
        taken = connection.recv_into(view[at:])
        if not taken:
            raise EOFError("the other side ended")
        at += taken
    return view

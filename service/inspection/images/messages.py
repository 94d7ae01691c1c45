"""Messages between the service and a decode child: a JSON head, followed by bytes.

JSON and not pickle, because a hostile image may have taken over the child. A socket and not shared
memory, because a killed child then leaves nothing behind; 50 megapixels take 0.1 s.
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
    """Send a message. Raises `OSError` if the other side has closed."""
    text = json.dumps({**head, "sizes": [len(body) for body in bodies]}).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)
    for body in bodies:
        connection.sendall(body)


def receive(connection: socket.socket, max_bytes: int) -> tuple[Head, list[memoryview]]:
    """Return a message with at most `max_bytes` after its head.

    Raises `EOFError` if the other side has closed, and `OSError` for an oversized message.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > _MAX_HEAD_BYTES:
        raise OSError(f"a message's head may have at most {_MAX_HEAD_BYTES} bytes, got {length}")
    head = json.loads(bytes(_exactly(connection, length)))
    if sum(head["sizes"]) > max_bytes:
        raise OSError(f"a message may have at most {max_bytes} bytes, got {sum(head['sizes'])}")
    return head, [_exactly(connection, size) for size in head["sizes"]]


def _exactly(connection: socket.socket, count: int) -> memoryview:
    # Not a bytearray: filling it with zeros would hold the GIL.
    view, at = np.empty(count, np.uint8).data, 0
    while at < count:
        received = connection.recv_into(view[at:])
        if not received:
            raise EOFError("the other side has closed the connection")
        at += received
    return view

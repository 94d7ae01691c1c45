"""One request as bytes, one answer: nothing is made right that a client would make right."""

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

ANSWER_S = 60.0


@dataclass(frozen=True)
class Reply:
    """How a service answered; `status` is None where it ended the connection without a word."""

    status: int | None
    head: bytes = field(default=b"", repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def decision(self) -> str | None:
        """What the answer's header says of the part."""
        found = re.search(rb"(?i)\r\nx-decision: (\w+)", self.head)
        return found[1].decode() if found else None


def exchange(url: str, request: bytes) -> Reply:
    """Send bytes and read one answer; the service may answer, and hang up, before it has all."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:

        def send() -> None:
            with suppress(OSError):
                connection.sendall(request)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            return _read(connection)
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            sending.join()


def _read(connection: socket.socket) -> Reply:
    received = b""
    with suppress(ConnectionError):
        while b"\r\n\r\n" not in received:
            piece = connection.recv(2**16)
            if not piece:
                return Reply(None)
            received += piece
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return Reply(None)
    found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    pieces = [body]
    length, count = int(found[1]) if found else 0, len(body)
    with suppress(ConnectionError):
        while count < length and (piece := connection.recv(2**20)):
            pieces.append(piece)
            count += len(piece)
    return Reply(int(head.split(b" ", 2)[1]), head, b"".join(pieces))

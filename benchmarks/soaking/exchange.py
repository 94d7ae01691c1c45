"""Sends one request as bytes and reads one answer, without a client's corrections."""

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

ANSWER_S = 60.0


@dataclass(frozen=True)
class Reply:
    """A service's answer; `status` is None if the service closed the connection silently."""

    status: int | None
    head: bytes = field(default=b"", repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def decision(self) -> str | None:
        """Return the decision in the answer's header."""
        header = re.search(rb"(?i)\r\nx-decision: (\w+)", self.head)
        return header[1].decode() if header else None


def exchange(url: str, request: bytes) -> Reply:
    """Send bytes and read one answer; the service may answer and hang up before it has them all."""
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
    length_header = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    pieces = [body]
    length, count = int(length_header[1]) if length_header else 0, len(body)
    with suppress(ConnectionError):
        while count < length and (piece := connection.recv(2**20)):
            pieces.append(piece)
            count += len(piece)
    return Reply(int(head.split(b" ", 2)[1]), head, b"".join(pieces))

"""A transport that joins small writes into one packet.

uvicorn writes an answer's head and body separately; each write costs a system call, a packet, and a
wake-up of the client, which cannot use the head alone.
"""

from asyncio import AbstractEventLoop, Transport
from collections.abc import Iterable

_MAX_BUFFERED_BYTES = 64 * 2**10
"""More buffered bytes are written at once, so that the transport's own limits apply."""


class GatheringTransport(Transport):
    """A transport that sends all small writes of one event loop turn together."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Buffer data until the end of the event loop's turn."""
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(bytes(data))
        self._buffered_bytes += len(data)
        if self._buffered_bytes > _MAX_BUFFERED_BYTES:
            self.flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Buffer data, as `write` does."""
        for data in list_of_data:
            self.write(data)

    def flush(self) -> None:
        """Send the buffered data."""
        pieces, self._pieces, self._buffered_bytes = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            self._transport.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        """Return the number of unsent bytes."""
        return self._buffered_bytes + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close once everything is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once and drop unsent data."""
        self._pieces, self._buffered_bytes = [], 0
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed or closing."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return a property of the connection, such as its socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        self._transport.resume_reading()

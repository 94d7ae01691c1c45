"""A connection's way out on which what is written in one go leaves in one packet.

uvicorn writes an answer's head and its body one after the other, and each write is a system call, a
packet, and a wake-up of the client, which can do nothing with the head alone.
"""

from asyncio import AbstractEventLoop, Transport
from collections.abc import Iterable

_HELD_BYTES = 64 * 2**10
"""More than this is not held back, and so meets the transport's own limits as it is written."""


class GatheringTransport(Transport):
    """Another transport, but for small writes: they go together, at the end of the loop's turn."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send soon, together with what else is written until then."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(bytes(data))
        self._held_bytes += len(data)
        if self._held_bytes > _HELD_BYTES:
            self.flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send soon, as `write`."""
        for data in list_of_data:
            self.write(data)

    def flush(self) -> None:
        """Send what is held."""
        held, self._held, self._held_bytes = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))

    def get_write_buffer_size(self) -> int:
        """Return the bytes that are not sent yet."""
        return self._held_bytes + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close once everything is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what is not sent is lost."""
        self._held, self._held_bytes = [], 0
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the client again."""
        self._transport.resume_reading()

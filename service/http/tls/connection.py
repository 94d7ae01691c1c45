"""One client's encrypted connection, between its socket and the connection that speaks HTTP.

asyncio's own TLS would hide slow readers from `Connection`, because it takes a whole answer out of
the buffer that it reports; it neither counts nor limits connections without a finished handshake;
and it waits up to 30 s for a client to confirm the end, as a client that idles never does.

`ssl.SSLObject` encrypts, decrypts and shakes hands; this module moves bytes.
"""

import logging
import ssl
from asyncio import AbstractEventLoop, BaseTransport, Protocol, TimerHandle, Transport
from contextlib import suppress
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.tls.certificate import Certificate
from service.settings.http import HttpSettings
from service.telemetry.logs import FIELDS
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.handshakes")

HANDSHAKE = "tls-handshake"
"""The reason under which a connection without a finished handshake is counted as cut."""

_RECORD_BYTES = 2**14
_WRITE_BYTES = 2**18
_FRESH_S = 1.0
"""How long a stopping service waits for a handshake that has begun."""


class TlsConnection(Protocol):
    """A connection's handshake, and its encryption after that.

    Until the handshake is finished it is one of uvicorn's connections itself, so that it is counted
    as one and told of the shutdown; then the connection that speaks HTTP takes its place.
    """

    settings: ClassVar[HttpSettings]
    metrics: ClassVar[Metrics]
    certificate: ClassVar[Certificate]
    plain: ClassVar[type[HttpToolsProtocol]]

    _timer: TimerHandle | None = None
    _is_open = False
    _is_paused = False
    _is_leaving = False

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - what uvicorn gives its connections
        self._inner = self.plain(**given)
        self._loop: AbstractEventLoop = self._inner.loop
        self._connections = self._inner.connections
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = self.certificate.context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        self.since = 0.0

    # Called by the event loop

    def connection_made(self, transport: BaseTransport) -> None:
        """Expect a handshake; if there are too many connections, drop the oldest handshake."""
        assert isinstance(transport, Transport)
        self.raw = transport
        self.since = self._loop.time()
        self._connections.add(self)  # type: ignore[arg-type] # `shutdown` is all that is called
        self._timer = self._loop.call_later(
            self.settings.header_timeout_s, self._cut, "the handshake did not end in time"
        )
        if len(self._connections) > self.settings.max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Go on with the handshake, or pass on what the client sent."""
        self._incoming.write(data)
        if self._is_open or self._shake_hands():
            self._read()

    def eof_received(self) -> None:
        """Tell the connection; the event loop closes the socket."""
        if self._is_open:
            self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a handshake, or tell the connection."""
        self._stop_timer()
        if self._is_open:
            self._inner.connection_lost(exc)
        elif self in self._connections:
            self._connections.discard(self)
            self._note_cut("the client left during the handshake")

    def pause_writing(self) -> None:
        """Tell the connection that its client reads too slowly."""
        if self._is_open:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection that its client reads again."""
        if self._is_open:
            self._inner.resume_writing()

    # Called by uvicorn

    def shutdown(self) -> None:
        """Give the handshake and the first request after it a moment."""
        self._is_leaving = True
        self._stop_timer()
        self._timer = self._loop.call_later(_FRESH_S, self._cut, "the service stops")

    # Called by the connection's transport

    def write(self, data: bytes) -> None:
        """Encrypt and send data."""
        left = memoryview(data)
        try:
            while left:
                left = left[self.ssl_object.write(left) :]
                if self._outgoing.pending > _WRITE_BYTES:
                    self._send()
        except ssl.SSLError as error:
            self._abort(error)
        else:
            self._send()

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        self._is_paused = True
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        """Read again, at first what is decrypted but was not passed on."""
        self._is_paused = False
        if not self.raw.is_closing():
            self.raw.resume_reading()
            self._loop.call_soon(self._read)

    def close(self) -> None:
        """Say goodbye, and close once everything is sent, without waiting for the client's."""
        if self.raw.is_closing():
            return
        with suppress(ssl.SSLError):  # it waits for the client's, or the client broke a rule
            self.ssl_object.unwrap()
        self._send()
        self.raw.close()

    # The work

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is finished."""
        if self.raw.is_closing():
            return False
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return False
        except ssl.SSLError as error:
            self._send()  # an alert
            self._cut(f"{error.reason or error}")
            return False
        self._stop_timer()
        self._is_open = True
        self._send()
        self._connections.discard(self)
        self._inner.connection_made(TlsTransport(self))
        if self._is_leaving:
            self._inner.shutdown()
        return True

    def _read(self) -> None:
        """Pass on what is decrypted, in one piece; end after the client's goodbye."""
        pieces: list[bytes] = []
        is_over = False
        try:
            while not self._is_paused and not self.raw.is_closing():
                piece = self.ssl_object.read(_RECORD_BYTES)
                if not piece:
                    is_over = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._abort(error)
            return
        self._send()  # the library may have answered
        if pieces:
            self._inner.data_received(b"".join(pieces))
        if is_over and not self.raw.is_closing():
            self._inner.eof_received()
            self.close()

    def _send(self) -> None:
        data = self._outgoing.read()
        if data and not self.raw.is_closing():
            self.raw.write(data)

    def _abort(self, error: ssl.SSLError) -> None:
        """End a connection whose records are invalid."""
        logger.debug("invalid TLS: %s", error.reason or error, extra={FIELDS: self._client})
        self._send()  # an alert
        self.raw.abort()

    def _make_room(self) -> None:
        """Drop the oldest unfinished handshake; without another one, `Connection` decides."""
        others = [c for c in self._connections if isinstance(c, TlsConnection) and c is not self]
        if others:
            min(others, key=lambda c: c.since)._cut("too many connections are open")

    def _cut(self, reason: str) -> None:
        """End a connection whose handshake is not finished."""
        self._connections.discard(self)
        self._note_cut(reason)
        self._stop_timer()
        self.raw.close()
        self._timer = self._loop.call_later(_FRESH_S, self.raw.abort)

    def _note_cut(self, reason: str) -> None:
        self.metrics.connections_cut.labels(HANDSHAKE).inc()
        logger.debug("no TLS handshake: %s", reason, extra={FIELDS: self._client})

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _client(self) -> dict[str, str]:
        peer = self.raw.get_extra_info("peername")
        return {"client": str(peer[0]) if peer else ""}


class TlsTransport(Transport):
    """What the connection that speaks HTTP writes to."""

    def __init__(self, connection: TlsConnection) -> None:
        super().__init__()
        self._connection = connection
        self._raw = connection.raw

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send data."""
        if not self._raw.is_closing():
            self._connection.write(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Return the number of unsent bytes, encrypted."""
        return self._raw.get_write_buffer_size()

    def close(self) -> None:
        """Close once everything is sent."""
        self._connection.close()

    def abort(self) -> None:
        """Close at once and drop unsent data."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed or closing."""
        return self._raw.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return a property of the connection, such as its socket."""
        if name in {"ssl_object", "sslcontext"}:
            ssl_object = self._connection.ssl_object
            return ssl_object if name == "ssl_object" else ssl_object.context
        return self._raw.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        self._connection.resume_reading()

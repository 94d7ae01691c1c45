"""One client's connection, with limits that uvicorn lacks.

It limits the size and arrival time of headers, idle time, the time to receive an answer, and the
number of connections. `bodies` limits bodies, because only it knows whether the service waits for
the client or for the application.

uvicorn does not guarantee the overridden methods: pyproject.toml bounds its version, a test fails
if one is no longer called, and MAMBAAD_HTTP__CONNECTION_LIMITS=false avoids them.
"""

from asyncio import BaseTransport, Protocol, TimerHandle, Transport

import httptools

from service.errors import (
    HeadersTooLarge,
    HeadersTooSlow,
    MalformedRequest,
    ServiceError,
    TooManyConnections,
)
from service.http.refusals import RefusingConnection
from service.http.tls.certificate import Certificate
from service.http.tls.connection import TlsConnection
from service.http.transport import GatheringTransport
from service.settings.http import HttpSettings
from service.telemetry.metrics import Metrics

_LINGER_S = 5.0
"""How long a client may go on sending a body whose request is already answered."""

_FRAMING_PER_BYTE = 16
"""Framing bytes allowed for each byte of a body: a chunk of one byte takes five."""

_FRESH_S = 1.0
"""How long a stopping service waits for the first request of an accepted connection."""


def connection_class(
    settings: HttpSettings, metrics: Metrics, certificate: Certificate | None = None
) -> type[Protocol]:
    """Return a class of connections with the settings' limits, for uvicorn's config."""
    limits = {"settings": settings, "metrics": metrics}
    limited = type("LimitedConnection", (Connection,), limits)
    if certificate is None:
        return limited
    encrypted = {**limits, "certificate": certificate, "plain": limited}
    return type("LimitedTlsConnection", (TlsConnection,), encrypted)


class Connection(RefusingConnection):
    """uvicorn's connection with limits of size and time."""

    _send_timer: TimerHandle | None = None
    _unsent = 0
    _header_bytes = 0  # of parsed headers
    _raw_bytes = 0  # received before the headers were complete
    _begun = 0  # requests that began in the current piece of data
    _body_bytes = 0  # of bodies in the current piece of data
    _framing_bytes = 0  # of the current body: chunk sizes, extensions, trailers
    _leaving = False
    _refusal: ServiceError | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Accept the connection; if there are too many, close an idle one."""
        assert isinstance(transport, Transport)
        super().connection_made(GatheringTransport(transport, self.loop))
        self._wait(self.settings.header_timeout_s, self._cut_slow_headers)
        if len(self.connections) > self.settings.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        self._stop_waiting()
        self._stop_send_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count bytes: endless headers and trailers never reach a callback."""
        if self._held_refusal is not None:
            return
        between, self._begun, self._body_bytes = self._message_complete, 0, 0
        count = len(data)
        self._unset_keepalive_if_required()
        while data and not self.transport.is_closing():
            data = self._parse(data)
        if not self._in_headers:
            self._count_framing(count)
            return
        if self._timer is None:  # most headers come whole, and need none
            self._wait(self.settings.header_timeout_s, self._cut_slow_headers)
        if not self._begun or (between and self._begun == 1):
            self._raw_bytes += count  # all of it belongs to these headers
        if self._raw_bytes > self.settings.max_header_bytes:
            self._refuse(self._headers_too_large())

    def _parse(self, data: bytes) -> bytes:
        """Feed the parser; return the data to feed next, after an offer of another protocol."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() != b"CONNECT":
                return self._without_upgrade() + data[offer.args[0] :]
            self._refuse_malformed()
        except httptools.HttpParserError:
            self._refuse_malformed()
        return b""

    def _without_upgrade(self) -> bytes:
        """Return the request's head without its offer of another protocol.

        At such an offer the parser ends the request and would parse its body as the next request.
        Java's client offers h2c with every first request.
        """
        start = b"%s %s HTTP/%s\r\n" % (
            self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        )  # fmt: skip
        headers = [line for line in self.headers if line[0] not in {b"upgrade", b"connection"}]
        self.parser = httptools.HttpRequestParser(self)
        return start + b"".join(b"%s: %s\r\n" % line for line in headers) + b"\r\n"

    # Called by the parser

    def on_message_begin(self) -> None:
        """Note that headers begin; `data_received` starts their timer unless they are whole."""
        self._begun += 1
        self._in_headers, self._message_complete = True, False
        self._header_bytes = self._raw_bytes = self._framing_bytes = 0
        self._stop_waiting()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the URL as a header."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; trailers after a body are counted and dropped."""
        self._count_header(len(name) + len(value))
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request to the application."""
        if self.parser.should_upgrade():
            return
        self._check_host()
        super().on_headers_complete()  # raises for an invalid URL: keep `_in_headers` until here
        self._in_headers = False
        self._stop_waiting()
        if self._leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count the body's bytes; `_count_framing` derives the framing from them."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Mark the request as complete; if it is already answered, the connection is idle."""
        if self.parser.should_upgrade():
            return
        self._message_complete = True
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait(self.settings.keep_alive_s, self._close)

    # Called by uvicorn

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of an unread body."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self._held_refusal is not None:
            if is_last:
                self._answer_refusal(self._held_refusal)
            return
        if self._in_headers or not self.cycle.response_complete:
            return
        if self._message_complete:
            self._wait(self.settings.keep_alive_s, self._close)
        else:
            self._wait(_LINGER_S, self._abort)

    def shutdown(self) -> None:
        """Close after the current request; a new connection may still send its first one."""
        self._leaving = True
        if self._in_headers:
            return
        if self.cycle is None:
            self._wait(_FRESH_S, self._close)
            return
        super().shutdown()

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read its answer."""
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._send_timer = self.loop.call_later(self.settings.send_timeout_s, self._check_progress)

    def resume_writing(self) -> None:
        """Stop the timer of a slow reader."""
        super().resume_writing()
        self._stop_send_timer()

    # Limits

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _check_progress(self) -> None:
        """Cut off a client that has read almost nothing; give any other the same time again."""
        unsent = self.transport.get_write_buffer_size()
        owed = int(self.settings.min_body_bytes_per_s * self.settings.send_timeout_s)
        if self._unsent - unsent < min(owed, self._unsent):
            self._note_cut("slow-reader")
            self._abort()
            return
        self._unsent = unsent
        self._send_timer = self.loop.call_later(self.settings.send_timeout_s, self._check_progress)

    def _count_header(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > self.settings.max_header_bytes:
            self._refusal = self._headers_too_large()
            raise self._refusal

    def _count_framing(self, count: int) -> None:
        """Refuse a body that consists mostly of framing, such as endless trailers."""
        if self._message_complete or self._begun:
            return  # part of it may belong to another request
        framing = count - (1 + _FRAMING_PER_BYTE) * self._body_bytes
        self._framing_bytes = max(0, self._framing_bytes + framing)
        if self._framing_bytes > self.settings.max_header_bytes:
            self._refuse(self._headers_too_large())

    def _check_host(self) -> None:
        """Refuse several Host headers: another server may use a different one."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self._refusal = MalformedRequest(f"expected one Host header, got {hosts or 'none'}")
            raise self._refusal

    # Refusals

    def _refuse_malformed(self) -> None:
        """Refuse invalid HTTP, or a request that a callback refused."""
        refusal, self._refusal = self._refusal, None
        self._refuse(refusal or MalformedRequest("the request is not HTTP/1.1"))

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, or refuse this one."""
        waiting = [c for c in self._others() if c.is_waiting]
        if not waiting:
            self._refuse(TooManyConnections("too many connections are open: close idle ones"))
            return
        oldest = min(waiting, key=lambda c: c.waiting_since)
        oldest._note_cut("too-many-connections")
        oldest._close()

    def _others(self) -> list["Connection"]:
        return [
            c
            for c in self.connections
            if isinstance(c, Connection) and c is not self and not c.transport.is_closing()
        ]

    def _cut_slow_headers(self) -> None:
        """Answer 408; but close silently if no header arrived, and wait for unfinished answers."""
        if not self.is_waiting:
            self._wait(self.settings.header_timeout_s, self._cut_slow_headers)
        elif self._in_headers:
            seconds = self.settings.header_timeout_s
            self._refuse(HeadersTooSlow(f"the headers did not arrive within {seconds:g} s"))
        else:
            self._close()

    def _headers_too_large(self) -> ServiceError:
        limit = self.settings.max_header_bytes
        return HeadersTooLarge(f"headers may have {limit} bytes, got more")

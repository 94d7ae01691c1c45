"""One client's connection, with the limits that uvicorn itself has none of.

A request's headers have a size and a time to arrive in, an idle connection is let go and so is a
client that does not take its answer, and there is an end to how many connections there are. Bodies
are the business of `bodies`, which alone knows whether the client is waited for or the application.

uvicorn promises nothing of the methods that are overridden here: pyproject.toml bounds its version,
a test notices when one is no longer called, and MAMBAAD_HTTP__CONNECTION_LIMITS=false needs none.
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
from service.http.transport import GatheringTransport
from service.settings.http import HttpSettings
from service.telemetry.metrics import Metrics

_LINGER_S = 5.0
"""How long a client may go on sending a body that was answered without being read."""

_FRAMING_PER_BYTE = 16
"""Bytes around each byte of a body that are no attack: a chunk of one byte takes five."""

_FRESH_S = 1.0
"""How long a leaving service waits for the first request of a connection that it took."""


def connection_class(settings: HttpSettings, metrics: Metrics) -> type[Protocol]:
    """Return the class of connections with the limits of the settings, as uvicorn wants it."""
    return type("LimitedConnection", (Connection,), {"settings": settings, "metrics": metrics})


class Connection(RefusingConnection):
    """uvicorn's connection, and what the client still owes it, by when."""

    _send_timer: TimerHandle | None = None
    _unsent = 0
    _header_bytes = 0  # of headers that the parser has told of
    _raw_bytes = 0  # that came while headers were not complete
    _begun = 0  # requests in the piece of data that is being parsed
    _body_bytes = 0  # of bodies in it
    _framing_bytes = 0  # of the body that is coming in: chunk sizes, their extensions, trailers
    _leaving = False
    _refusal: ServiceError | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Take the connection, if need be in the place of one that only waits."""
        assert isinstance(transport, Transport)
        super().connection_made(GatheringTransport(transport, self.loop))
        self._wait(self.settings.header_timeout_s, self._cut_slow_headers)
        if len(self.connections) > self.settings.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything that was waited for."""
        self._stop_waiting()
        self._stop_send_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; headers and trailers without end reach no callback, so bytes are counted here."""
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
        if not self._begun or (between and self._begun == 1):
            self._raw_bytes += count  # all of it is of these headers
        if self._raw_bytes > self.settings.max_header_bytes:
            self._refuse(self._headers_too_large())

    def _parse(self, data: bytes) -> bytes:
        """Feed the parser; return what is left to feed, if a client offered another protocol."""
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
        """Write the request's head again, to be read as one that offers no other protocol.

        The parser ends the request where another protocol could begin, and would take its body for
        the next request; Java's client makes that offer (h2c) with every first request.
        """
        start = b"%s %s HTTP/%s\r\n" % (
            self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        )  # fmt: skip
        kept = [line for line in self.headers if line[0] not in {b"upgrade", b"connection"}]
        self.parser = httptools.HttpRequestParser(self)
        return start + b"".join(b"%s: %s\r\n" % line for line in kept) + b"\r\n"

    # Called by the parser

    def on_message_begin(self) -> None:
        """Start the clock for the headers."""
        self._begun += 1
        self._in_headers, self._message_complete = True, False
        self._header_bytes = self._raw_bytes = self._framing_bytes = 0
        self._wait(self.settings.header_timeout_s, self._cut_slow_headers)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the path too."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; trailers, which come after a body, are counted and left out."""
        self._count_header(len(name) + len(value))
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application have the request."""
        if self.parser.should_upgrade():
            return
        self._check_host()
        super().on_headers_complete()  # raises for a URL that is none: still within the headers
        self._in_headers = False
        self._stop_waiting()
        if self._leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count what is the client's own, so that what is around it is known too."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the client has said all; if the answer is out already, the connection idles."""
        if self.parser.should_upgrade():
            return
        self._message_complete = True
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait(self.settings.keep_alive_s, self._close)

    # Called by uvicorn

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody wants."""
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
        """Leave once what has begun is finished; a new connection may still send its request."""
        self._leaving = True
        if self._in_headers:
            return
        if self.cycle is None:
            self._wait(_FRESH_S, self._close)
            return
        super().shutdown()

    def pause_writing(self) -> None:
        """Start the clock for a client that does not take its answer."""
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._send_timer = self.loop.call_later(self.settings.send_timeout_s, self._check_progress)

    def resume_writing(self) -> None:
        """Stop that clock."""
        super().resume_writing()
        self._stop_send_timer()

    # What is waited for

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _check_progress(self) -> None:
        """Cut off a client that has taken next to nothing; any other gets as long again."""
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
        """Refuse a body of which next to nothing is the client's own, such as endless trailers."""
        if self._message_complete or self._begun:
            return  # some of it may be of another request
        framing = count - (1 + _FRAMING_PER_BYTE) * self._body_bytes
        self._framing_bytes = max(0, self._framing_bytes + framing)
        if self._framing_bytes > self.settings.max_header_bytes:
            self._refuse(self._headers_too_large())

    def _check_host(self) -> None:
        """Refuse a request with several hosts, of which another server may believe another one."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self._refusal = MalformedRequest(f"expected one Host header, got {hosts or 'none'}")
            raise self._refusal

    # What is done about it

    def _refuse_malformed(self) -> None:
        """Answer what is no HTTP, or what a callback above would not take."""
        refusal, self._refusal = self._refusal, None
        self._refuse(refusal or MalformedRequest("the request is not HTTP/1.1"))

    def _make_room(self) -> None:
        """Let go of the connection that has waited longest, or else of this one."""
        waiting = [c for c in self._others() if c.is_waiting]
        if not waiting:
            self._refuse(TooManyConnections("too many connections are open"))
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
        """Answer 408, unless the client has said nothing, or is still owed an answer."""
        if not self.is_waiting:
            self._wait(self.settings.header_timeout_s, self._cut_slow_headers)
        elif self._in_headers:
            seconds = self.settings.header_timeout_s
            self._refuse(HeadersTooSlow(f"the headers did not arrive within {seconds:g} s"))
        else:
            self._close()

    def _headers_too_large(self) -> ServiceError:
        return HeadersTooLarge(f"headers may have {self.settings.max_header_bytes} bytes")

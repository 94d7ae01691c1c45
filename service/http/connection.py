"""One client's connection, with the limits that uvicorn itself has none of.

A request's headers have a size and a time to arrive in, an idle connection is let go and so is a
client that does not take its answer, and there is an end to how many connections there are. Bodies
are the business of `bodies`, which alone knows whether the client is waited for or the application.

uvicorn promises nothing of the methods that are overridden here: pyproject.toml bounds its version,
a test notices when one is no longer called, and MAMBAAD_HTTP__CONNECTION_LIMITS=false needs none.
"""

import logging
import uuid
from asyncio import BaseTransport, Protocol, TimerHandle, Transport
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import (
    HeadersTooLarge,
    HeadersTooSlow,
    MalformedRequest,
    ServiceError,
    TooManyConnections,
)
from service.http.problems import PROBLEM_JSON, problem_of, retry_headers
from service.http.transport import GatheringTransport
from service.problem_types import PROBLEM_TYPES
from service.settings.http import HttpSettings
from service.telemetry.logs import FIELDS
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.connections")

_LINGER_S = 5.0
"""How long a client may go on sending a body that was answered without being read."""

_FRESH_S = 1.0
"""How long a leaving service waits for the first request of a connection that it took."""


def connection_class(settings: HttpSettings, metrics: Metrics) -> type[Protocol]:
    """Return the class of connections with the limits of the settings, as uvicorn wants it."""
    return type("LimitedConnection", (Connection,), {"settings": settings, "metrics": metrics})


class Connection(HttpToolsProtocol):
    """uvicorn's connection, and what the client still owes it, by when."""

    settings: ClassVar[HttpSettings]
    metrics: ClassVar[Metrics]

    _timer: TimerHandle | None = None
    _send_timer: TimerHandle | None = None
    _unsent = 0
    _header_bytes = 0  # of headers that the parser has told of
    _raw_bytes = 0  # that came while headers were not complete
    _begun = 0  # requests in the piece of data that is being parsed
    _in_headers = False
    _message_complete = True
    _leaving = False
    _refusal: ServiceError | None = None
    waiting_since = 0.0

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
        """Parse; headers without end never reach a callback, so bytes are counted here too."""
        between, self._begun = self._message_complete, 0
        count = len(data)
        self._unset_keepalive_if_required()
        while data and not self.transport.is_closing():
            data = self._parse(data)
        if not self._in_headers:
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
        self._header_bytes = self._raw_bytes = 0
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
        self._in_headers = False
        self._stop_waiting()
        super().on_headers_complete()
        if self._leaving:
            self.cycle.keep_alive = False

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
        super().on_response_complete()
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

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_waiting()
        self.waiting_since = self.loop.time()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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

    def _refuse(self, error: ServiceError) -> None:
        """Answer with a problem, unless another answer is on its way, and close."""
        if self.transport.is_closing():
            return
        self._note_cut(PROBLEM_TYPES[type(error)].slug)
        if self.is_waiting:
            problem = problem_of(error, uuid.uuid4().hex)
            content = problem.model_dump_json(exclude_none=True).encode()
            headers = {
                **retry_headers(error),
                "Content-Type": PROBLEM_JSON,
                "Content-Length": str(len(content)),
                "Connection": "close",
                "X-Request-ID": problem.request_id,
            }
            lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        self._close()

    def _close(self) -> None:
        """Close once all is sent, and without waiting for ever for a client that reads nothing."""
        self.transport.close()
        self._wait(self.settings.send_timeout_s, self._abort)

    def _abort(self) -> None:
        self.transport.abort()

    def _note_cut(self, reason: str) -> None:
        self.metrics.connections_cut.labels(reason).inc()
        client = self.client[0] if self.client else ""
        logger.info("connection cut: %s", reason, extra={FIELDS: {"client": client}})

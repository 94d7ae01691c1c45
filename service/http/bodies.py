"""Limits of every request's body: size, time and compression.

Bytes are counted as they arrive and again as they inflate, so that neither a chunked nor a
compressed body exceeds the limit. Time counts only while the application waits for the client.
Heatmaps of an answer are counted too, until the client has received nearly all of it.
"""

import asyncio
import zlib
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    AnswerTooLarge,
    BodiesFull,
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    ServiceError,
    UnsupportedEncoding,
)
from service.http.problems import problem_of, retry_headers
from service.http.request_log import problem_response, request_id_of
from service.settings.http import HttpSettings
from service.telemetry.metrics import Metrics

_INFLATED_AT_ONCE = 256 * 2**10
_SENT_AT_ONCE = 256 * 2**10
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_REPLACED = frozenset({b"content-encoding", b"content-length"})


@dataclass(slots=True)
class BodyBudget:
    """The limits of bodies: bytes and time of each, and bytes of all together."""

    max_bytes: int
    max_inflight_bytes: int
    timeout_s: float
    min_bytes_per_s: int
    held_bytes: int = field(default=0, init=False)

    @classmethod
    def of(cls, settings: HttpSettings) -> "BodyBudget":
        """Return the limits of the settings."""
        return cls(
            settings.max_request_bytes,
            settings.max_inflight_bytes,
            settings.body_timeout_s,
            settings.min_body_bytes_per_s,
        )

    def check(self, count: int) -> None:
        """Raise `BodyTooLarge` if a body has too many bytes."""
        if count > self.max_bytes:
            raise BodyTooLarge(f"a request's body may have {self.max_bytes} bytes, got more")

    def hold(self, count: int) -> None:
        """Count bytes in memory. Raises `BodiesFull`."""
        if self.held_bytes + count > self.max_inflight_bytes:
            raise BodiesFull(
                f"requests in progress take {self.held_bytes} bytes; the limit is "
                f"{self.max_inflight_bytes}"
            )
        self.held_bytes += count


class BodyGuard:
    """ASGI middleware that limits the bodies of requests."""

    def __init__(self, app: ASGIApp, budget: BodyBudget, metrics: Metrics) -> None:
        self._app = app
        self._budget = budget
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal started
            if body.refusal is None or started:
                started = True
                await _send_in_pieces(send, message)

        body = _Body(self._budget, receive)
        scope["state"]["hold_answer"] = body.hold_answer
        try:
            inflated = body.prepare(scope)
            await self._app(inflated, body.receive, send_unless_refused)
        except ServiceError as error:
            if error is not body.refusal:
                raise
        finally:
            self._budget.held_bytes -= body.held_bytes + body.answer_bytes
        if isinstance(body.refusal, BodyTooSlow):
            self._metrics.connections_cut.labels("body-too-slow").inc()
        if body.refusal is not None and not started:
            problem = problem_of(body.refusal, request_id_of(scope))
            response = problem_response(problem, retry_headers(body.refusal))
            await response(scope, receive, send)


async def _send_in_pieces(send: Send, message: Message) -> None:
    """Send a large body at the client's pace instead of into an uncounted buffer."""
    body = message.get("body", b"")
    for start in range(0, len(body) - _SENT_AT_ONCE, _SENT_AT_ONCE):
        piece = body[start : start + _SENT_AT_ONCE]
        await send({**message, "body": piece, "more_body": True})
    last = max(0, (len(body) - 1) // _SENT_AT_ONCE) * _SENT_AT_ONCE
    await send({**message, "body": body[last:]} if last else message)


class _Body:
    """One incoming body; `refusal` is the error that stopped it."""

    def __init__(self, budget: BodyBudget, receive: Receive) -> None:
        self._budget = budget
        self._client = receive
        self._inflater: _Inflater | None = None
        self._arrived = 0
        self._waited_s = 0.0
        self._complete = False
        self.held_bytes = 0
        self.answer_bytes = 0
        self.refusal: ServiceError | None = None

    def prepare(self, scope: Scope) -> Scope:
        """Check the headers; return the scope for the application, without the compression."""
        headers = Headers(scope=scope)
        try:
            declared = headers.get("content-length", "")
            if declared.isdecimal():
                self._budget.check(int(declared))
            encoding = headers.get("content-encoding", "").strip().lower()
            if encoding in {"", "identity"}:
                return scope
            self._inflater = _Inflater(encoding)
        except ServiceError as error:
            self.refusal = error
            raise
        headers_left = [(name, value) for name, value in scope["headers"] if name not in _REPLACED]
        scope["headers"] = headers_left  # in place: log and metrics read the route from this scope
        return scope

    def hold_answer(self, count: int) -> None:
        """Count bytes of the answer. Raises `AnswerTooLarge` or `BodiesFull`."""
        if self.answer_bytes + count > self._budget.max_bytes:
            raise AnswerTooLarge(
                f"the pictures of one answer may have {self._budget.max_bytes} bytes: request fewer"
            )
        self._budget.hold(count)
        self.answer_bytes += count

    async def receive(self) -> Message:
        """Return the next piece within the limits; after the last one, wait for the disconnect."""
        if self._complete:
            return await self._client()
        try:
            if self._inflater:
                return await self._inflated(self._inflater)
            return await self._plain()
        except ServiceError as error:
            self.refusal = error
            raise

    async def _plain(self) -> Message:
        message = await self._arriving()
        if message["type"] != "http.request":
            return message
        self._complete = not message.get("more_body", False)
        self._take(len(message.get("body", b"")))
        return message

    async def _inflated(self, inflater: "_Inflater") -> Message:
        """Return the next inflated piece: a bomb is never one large piece on the event loop."""
        while not (piece := inflater.next_piece()):
            if inflater.is_complete:
                self._complete = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._arriving()
            if message["type"] != "http.request":
                return message
            inflater.give(message.get("body", b""), complete=not message.get("more_body", False))
        self._take(len(piece))
        await asyncio.sleep(0)  # other requests go on between the pieces
        return {"type": "http.request", "body": piece, "more_body": True}

    async def _arriving(self) -> Message:
        """Return the client's next message; what it holds is counted as it came."""
        message = await self._in_time()
        self._arrived += len(message.get("body", b""))
        self._budget.check(self._arrived)
        return message

    async def _in_time(self) -> Message:
        """Wait for the client; received bytes extend its time."""
        earned_s = self._arrived / self._budget.min_bytes_per_s
        left_s = self._budget.timeout_s + earned_s - self._waited_s
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await self._client()
        except TimeoutError as error:
            raise BodyTooSlow(
                f"the body did not arrive in time: {self._arrived} bytes in "
                f"{self._waited_s + loop.time() - started:.0f} s"
            ) from error
        finally:
            self._waited_s += loop.time() - started

    def _take(self, count: int) -> None:
        self._budget.check(self.held_bytes + count)
        self._budget.hold(count)
        self.held_bytes += count


class _Inflater:
    """Inflates a compressed body, one piece of bounded size at a time."""

    def __init__(self, encoding: str) -> None:
        """Raise `UnsupportedEncoding` unless the encoding is gzip or deflate."""
        if encoding not in _ENCODINGS:
            raise UnsupportedEncoding(
                f"Content-Encoding {encoding[:50]!r} is not supported; supported: gzip, deflate"
            )
        self._encoding = encoding
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._content = b""
        self.is_complete = False

    def give(self, content: bytes, *, complete: bool) -> None:
        """Take the next compressed bytes; `complete` says that they are the last."""
        self._content = content
        self.is_complete = complete

    def next_piece(self) -> bytes:
        """Return the next inflated bytes; none where more compressed ones are needed.

        Raises `MalformedBody`.
        """
        piece = b""
        while not piece and self._content and not self._stream.eof:
            piece = self._decompress(self._content)
            self._content = self._stream.unconsumed_tail
        if self._stream.eof and (self._stream.unused_data or self._content):
            raise MalformedBody(f"bytes follow the end of the {self._encoding} body")
        if self.is_complete and not piece and not self._stream.eof:
            raise MalformedBody(f"the {self._encoding} body is cut off: its end is missing")
        return piece

    def _decompress(self, content: bytes) -> bytes:
        try:
            piece = self._stream.decompress(content, _INFLATED_AT_ONCE)
            # zlib may hold back output although it has consumed all input.
            while not self._stream.unconsumed_tail and len(piece) % _INFLATED_AT_ONCE == 0:
                more = self._stream.decompress(b"", _INFLATED_AT_ONCE)
                if not more:
                    break
                piece += more
        except zlib.error as error:
            raise MalformedBody(
                f"the body is not valid {self._encoding}, although its Content-Encoding says so"
            ) from error
        return piece

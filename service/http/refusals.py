"""A connection that refuses requests before they reach the application."""

import logging
import uuid
from asyncio import TimerHandle
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import ServiceError
from service.http.problems import PROBLEM_JSON, problem_of, retry_headers
from service.problem_types import PROBLEM_TYPES
from service.settings.http import HttpSettings
from service.telemetry.logs import FIELDS
from service.telemetry.metrics import Metrics

logger = logging.getLogger("service.connections")


class RefusingConnection(HttpToolsProtocol):
    """uvicorn's connection, which can refuse a request after it has answered earlier ones."""

    settings: ClassVar[HttpSettings]
    metrics: ClassVar[Metrics]

    _timer: TimerHandle | None = None
    _in_headers = False
    _message_complete = True
    _held_refusal: ServiceError | None = None  # waits for earlier requests to be answered
    waiting_since = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the connection is idle."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_waiting()
        self.waiting_since = self.loop.time()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: ServiceError) -> None:
        """Answer with a problem after all earlier requests are answered, then close."""
        if self.transport.is_closing() or self._held_refusal is not None:
            return
        self._note_cut(PROBLEM_TYPES[type(error)].slug)
        is_of_body = not self._in_headers and not self._message_complete
        if not is_of_body and self.is_waiting:
            self._answer_refusal(error)
        elif not is_of_body:
            self._held_refusal = error
        elif self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # its application call has not begun
            self._held_refusal = error
        elif self.cycle.response_started:
            self._close()
        else:
            self.cycle.disconnected = True  # drops the application's answer
            self.cycle.message_event.set()
            self._answer_refusal(error)

    def _answer_refusal(self, error: ServiceError) -> None:
        if not self.transport.is_closing():
            self.transport.write(refusal(error))
            self._close()

    def _close(self) -> None:
        """Close after everything is sent; abort if the client does not read in time."""
        self.transport.close()
        self._wait(self.settings.send_timeout_s, self._abort)

    def _abort(self) -> None:
        self.transport.abort()

    def _note_cut(self, reason: str) -> None:
        self.metrics.connections_cut.labels(reason).inc()
        client = self.client[0] if self.client else ""
        logger.info("connection cut: %s", reason, extra={FIELDS: {"client": client}})


def refusal(error: ServiceError) -> bytes:
    """Return the bytes of an HTTP/1.1 answer with the error's problem and `Connection: close`."""
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
    return "\r\n".join([*lines, "", ""]).encode() + content

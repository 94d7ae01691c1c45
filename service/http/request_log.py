"""Middleware around every request: id, log line, metrics, and an answer for every error."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.inspection import Decision
from service.http.decision_headers import (
    DECISION_HEADER,
    deciding,
    decision_headers,
    fail_safe,
    request_that_decides,
)
from service.http.declaration import declaration_of
from service.http.inspection_ids import (
    add_inspection_id,
    assign_inspection_id,
    inspection_id_note,
)
from service.http.matching import UNMATCHED
from service.http.problems import PROBLEM_JSON, Problem, problem_of
from service.shutdown import Shutdown
from service.telemetry.logs import FIELDS, members, note, taking_notes
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import TRACEPARENT, Tracing

logger = logging.getLogger("service.middleware")
access = logging.getLogger("service.access")

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_ANSWER_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_POLICY = "default-src 'none'; frame-ancestors 'none'"


def request_id_of(scope: Scope) -> str:
    """Return the request's id, which `RequestLog` assigned."""
    request_id: str = scope["state"]["request_id"]
    return request_id


def received_at(scope: Scope) -> float:
    """Return when the request's headers were complete, by the event loop's clock."""
    moment: float = scope["state"]["received_at"]
    return moment


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Return an answer with a problem, and add the problem to the request's log line.

    For an inspecting route, the answer includes UNDECIDED and the fail-safe.
    """
    deciding_request = request_that_decides()
    if deciding_request is not None:
        safe = deciding_request.fail_safe
        undecided = {"decision": Decision.UNDECIDED.value, "fail_safe": safe}
        problem = problem.model_copy(update=undecided)
        headers = {**(headers or {}), **decision_headers(Decision.UNDECIDED)}
        deciding_request.problem = problem
    slug = problem.type.rpartition(":")[2]
    note(problem=f"http-{problem.status}" if slug == "blank" else slug)
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, problem.status, headers, media_type=PROBLEM_JSON)


class AnswerHeaders:
    """ASGI middleware: security headers for browsers, and `Connection: close` while stopping."""

    def __init__(self, app: ASGIApp, shutdown: Shutdown) -> None:
        self._app = app
        self._shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_for_browsers(message, declaration_of(scope).page_policy or _POLICY)
                if self._shutdown.begun:  # sends the next request to another service
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class RequestLog:
    """ASGI middleware that logs and measures requests, and answers unexpected errors with 500."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        fail_safe: str = "NG",
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._tracing = tracing or Tracing()
        self._metrics = metrics
        self._requests = cache(metrics.requests.labels)  # few: templates of routes, status codes
        self._request_seconds = cache(metrics.request_seconds.labels)
        self._fail_safe = fail_safe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; other protocols than HTTP pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        now = asyncio.get_running_loop().time()
        scope.setdefault("state", {}).update(request_id=request_id, received_at=now)
        assign_inspection_id(scope)
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if trace.parent:
                    headers[TRACEPARENT] = str(trace.parent)
                _add_headers(scope, headers, status)
            await send(message)

        started = time.perf_counter()
        safe = self._fail_safe if declaration_of(scope).inspects else None
        in_progress = self._metrics.requests_in_progress.track_inprogress()
        with (
            deciding(safe),
            taking_notes() as notes,
            in_progress,
            self._tracing.request(scope) as trace,
        ):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                logger.exception("request failed", extra={FIELDS: {"request_id": request_id}})
                if status is not None:  # the answer has begun: cut it off
                    raise
                response = problem_response(problem_of(error, request_id))
                await response(scope, receive, send_with_id)
            finally:
                trace.answered(_route_of(scope), status)
                self._write(scope, status, time.perf_counter() - started, notes)

    def _write(
        self, scope: Scope, status: int | None, seconds: float, notes: Mapping[str, Any]
    ) -> None:
        route = _route_of(scope)
        declaration = declaration_of(scope)
        # A refused request never reaches its route, and counts like all refused ones.
        is_counted = declaration.is_counted or route == UNMATCHED
        if is_counted:
            self._requests(route, str(status or 0)).inc()
            self._request_seconds(route).observe(seconds)
        fields = {
            "request_id": request_id_of(scope),
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            **inspection_id_note(scope),
            **members(notes),
        }
        # A refused probe never reaches its route and is logged: its key is wrong.
        is_probe = declaration.is_probe and route != UNMATCHED
        if "problem" in notes and not is_probe:
            self._metrics.rejected.labels(notes["problem"]).inc()
        is_quiet = is_probe or not (is_counted or "problem" in notes)
        level = logging.DEBUG if is_quiet else logging.INFO
        access.log(level, "%s %s", scope["method"], scope["path"], extra={FIELDS: fields})


def _add_for_browsers(message: Message, policy: str) -> None:
    """Add the security headers that an answer lacks."""
    headers = list(message["headers"])
    present = {name.lower() for name, _ in headers}
    wanted = (*_ANSWER_HEADERS, (b"content-security-policy", policy.encode("latin-1")))
    message["headers"] = headers + [pair for pair in wanted if pair[0] not in present]


def _add_headers(scope: Scope, headers: MutableHeaders, status: int) -> None:
    headers[REQUEST_ID_HEADER] = request_id_of(scope)
    add_inspection_id(scope, headers)
    if status >= 400 and fail_safe() and DECISION_HEADER not in headers:
        headers.update(decision_headers(Decision.UNDECIDED))


def _route_of(scope: Scope) -> str:
    route: str = getattr(scope.get("route"), "path", UNMATCHED)
    return route


def _request_id(scope: Scope) -> str:
    """Return the client's id if it is safe to log and to send back, else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

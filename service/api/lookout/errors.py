"""Translates every problem of a request into an exception of Lookout.

Middleware refuses some requests before they reach a route, so answers are translated on their way
out. Log and metrics keep the original names and statuses.
"""

import json
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.lookout.schemas import ERRORS, PREFIX, LookoutError
from service.errors import Conflict, NoSuchVersion
from service.http.problems import PROBLEM_JSON
from service.http.request_log import REQUEST_ID_HEADER
from service.problem_types import PROBLEM_TYPES

_REQUEST_ID = "x-amzn-RequestId"
_THROTTLES = {kind.slug for kind in PROBLEM_TYPES.values() if kind.throttles}
_OF_VERSIONS = {PROBLEM_TYPES[kind].slug for kind in (NoSuchVersion, Conflict)}
_REPLACED = {"content-type", "content-length"}


class LookoutErrors:
    """ASGI middleware that translates the problems of Lookout's paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; other paths than Lookout's pass through."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        problem_start: Message | None = None
        body = b""

        async def send_translated(message: Message) -> None:
            nonlocal problem_start, body
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type") == PROBLEM_JSON:
                    problem_start = message
                    return
                headers[_REQUEST_ID] = headers.get(REQUEST_ID_HEADER, "")
            if problem_start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                await _translated(scope["path"], problem_start, body)(scope, receive, send)

        await self._app(scope, receive, send_translated)


def exception_of(slug: str, status: int) -> tuple[str, int]:
    """Return the name and the status of Lookout's exception for a problem."""
    if slug in _THROTTLES:
        lookout_status = 429
    elif status in {401, 403}:
        lookout_status = 403
    elif status in {404, 409}:
        lookout_status = status
    else:
        lookout_status = 500 if status >= 500 else 400
    return ERRORS[lookout_status], lookout_status


def _translated(path: str, start: Message, body: bytes) -> JSONResponse:
    problem: dict[str, Any] = json.loads(body)
    slug = problem["type"].rpartition(":")[2]
    name, status = exception_of(slug, problem["status"])
    error = LookoutError(Message=problem["detail"])
    if status in {404, 409}:
        error = error.model_copy(update=_resource(path, slug))
    given = Headers(raw=start["headers"]).items()
    headers = {header: value for header, value in given if header not in _REPLACED}
    headers |= {"x-amzn-ErrorType": name, _REQUEST_ID: problem["request_id"]}
    return JSONResponse(error.model_dump(exclude_none=True), status, headers)


def _resource(path: str, slug: str) -> dict[str, str]:
    """Return the version that the problem is about, else the project."""
    project, _, subpath = path.removeprefix(PREFIX).removeprefix("projects/").partition("/")
    if slug in _OF_VERSIONS:
        version = subpath.removeprefix("models/").partition("/")[0]
        return {"ResourceId": version, "ResourceType": "MODEL"}
    return {"ResourceId": project, "ResourceType": "PROJECT"}

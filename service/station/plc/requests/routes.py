"""The routes of the HTTP door: `POST /trigger`, `POST /command`, `GET /state`.

app = application(desk, token="...")
"""

import asyncio
import hmac
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.station.machine.states import Command, CommandResult
from service.station.plc.requests.desk import Desk
from service.station.plc.requests.messages import (
    MOST_BYTES,
    CommandRequest,
    PartAnswer,
    RequestRefused,
    TriggerRequest,
    read_request,
    state_at_refusal,
    state_of,
)

_BODY_S = 5.0
_STATUSES = {
    "not-ready": HTTPStatus.CONFLICT,
    "other-request": HTTPStatus.CONFLICT,
    "not-taken": HTTPStatus.CONFLICT,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "stops": HTTPStatus.SERVICE_UNAVAILABLE,
    "command": HTTPStatus.CONFLICT,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "browser": HTTPStatus.FORBIDDEN,
    "too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too-slow": HTTPStatus.REQUEST_TIMEOUT,
}
_TITLES = {
    "not-ready": "the station takes no part now",
    "other-request": "the number and part id belong to another request",
    "not-taken": "the part was not taken",
    "invalid": "the request is not valid",
    "stops": "the station stops",
    "command": "the command was not carried out",
    "browser": "a browser's page may not command a station",
    "unauthorized": "the token is missing or wrong",
    "too-large": "the request is too large",
    "too-slow": "the request is too slow",
}
_Request = TypeVar("_Request", TriggerRequest, CommandRequest)


def application(desk: Desk, token: str | None) -> Starlette:
    """Return the application; with a token, every request needs it."""
    routes = _Routes(desk, token)
    return Starlette(
        routes=[
            Route("/trigger", routes.trigger, methods=["POST"]),
            Route("/command", routes.command, methods=["POST"]),
            Route("/state", routes.state, methods=["GET"]),
        ],
        exception_handlers={
            RequestRefused: routes.refused,
            _Fault: routes.fault,
            HTTPException: _http_error,
            Exception: _internal_error,
        },
    )


class _Fault(Exception):
    def __init__(self, code: str, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.code = code
        self.extra = extra


class _Routes:
    def __init__(self, desk: Desk, token: str | None) -> None:
        self._desk = desk
        self._token = token

    async def trigger(self, request: Request) -> Response:
        """Inspect a part; the answer comes within the takt time."""
        trigger = await self._read(request, TriggerRequest)
        return _answer(await self._desk.inspect(trigger))

    async def command(self, request: Request) -> Response:
        """Give a command; StartSingleJob answers like a trigger."""
        command = await self._read(request, CommandRequest)
        if command.code is Command.START_SINGLE_JOB:
            return _answer(await self._desk.inspect(command.trigger(), by_command=True))
        answer = await self._desk.command(command)
        if answer.result != CommandResult.DONE.name:
            raise _Fault("command", answer.detail, result=answer.result, state=answer.state)
        return JSONResponse(answer.model_dump(mode="json"))

    async def state(self, request: Request) -> Response:
        """Return what the station shows."""
        self._check_token(request)
        return JSONResponse(state_of(self._desk.image))

    async def refused(self, _request: Request, error: Exception) -> Response:
        """Answer a request for which the station did nothing."""
        assert isinstance(error, RequestRefused)
        return _problem(error.code, str(error), state=state_at_refusal(error, self._desk.image))

    async def fault(self, _request: Request, error: Exception) -> Response:
        """Answer a request that was not read, or a command that was not carried out."""
        assert isinstance(error, _Fault)
        return _problem(error.code, str(error), **error.extra)

    async def _read(self, request: Request, model: type[_Request]) -> _Request:
        """Return a request's body. Raises `RequestRefused` or `_Fault`."""
        self._check_token(request)
        if "origin" in request.headers:  # a page of another site, in a browser on an allowed host
            raise _Fault("browser", "expected a program; a browser's page sent the header Origin")
        content = bytearray()
        try:
            async with asyncio.timeout(_BODY_S):
                async for piece in request.stream():
                    content += piece
                    if len(content) > MOST_BYTES:
                        raise _Fault("too-large", f"expected at most {MOST_BYTES} bytes")
        except TimeoutError:
            raise _Fault("too-slow", f"expected the body within {_BODY_S:g} s") from None
        except ClientDisconnect:
            raise _Fault("too-slow", "the client left before its body had come") from None
        return read_request(model, bytes(content))

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
            raise _Fault("unauthorized", "expected the header `Authorization: Bearer TOKEN`")


def _answer(answer: PartAnswer) -> Response:
    return JSONResponse(answer.model_dump(mode="json"))


def _problem(code: str, detail: str, **extra: object) -> Response:
    status = _STATUSES[code]
    body = {
        "type": f"urn:mambaad:problem:station-{code}",
        "title": _TITLES[code],
        "status": status.value,
        "detail": detail,
        **extra,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    return _problem_response(body, status, headers)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _http_problem(HTTPStatus(error.status_code), str(error.detail))


async def _internal_error(_request: Request, _error: Exception) -> Response:
    return _http_problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the station's log has the error")


def _http_problem(status: HTTPStatus, detail: str) -> Response:
    body = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    return _problem_response(body, status, {})


def _problem_response(
    body: dict[str, Any], status: HTTPStatus, headers: dict[str, str]
) -> Response:
    media_type = "application/problem+json"
    return JSONResponse(body, status.value, headers, media_type)

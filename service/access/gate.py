"""Who is asking, may they, and not too often: checked before a byte of the body is read.

`Gate` is ASGI middleware and refuses by default: a route that nobody thought of needs a key too.
What a key is good for, and what is open, the routes declare.
"""

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.guard import Guard
from service.errors import Forbidden, ServiceError
from service.http.declaration import Access, declared_by, match_of
from service.http.problems import problem_of, retry_headers
from service.http.request_log import problem_response, request_id_of
from service.telemetry.logs import note


class Gate:
    """ASGI middleware that lets a request in once it is known who asks, and that they may."""

    def __init__(self, app: ASGIApp, guard: Guard, metrics_require_key: bool = False) -> None:
        self._app = app
        self._guard = guard
        self._open = (
            {Access.OPEN} if metrics_require_key else {Access.OPEN, Access.OPEN_FOR_METRICS}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and match_of(scope).declaration.access not in self._open:
            try:
                self._admit(scope)
            except ServiceError as error:
                problem = problem_of(error, request_id_of(scope))
                await problem_response(problem, retry_headers(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        address = (scope.get("client") or ("",))[0]
        caller = self._guard.admit(scope["method"], Headers(scope=scope), address)
        scope["state"]["caller"] = caller
        note(caller=caller.name)
        matched = match_of(scope)
        try:
            self._guard.require(caller, matched.declaration.scope)
        except Forbidden:
            scope["route"] = matched.route  # it is counted as a refusal of this route
            raise


_BEARER = HTTPBearer(auto_error=False, description="an API key, as `mambaad keys new` prints it")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="the same in its own header")


async def takes_key(
    request: Request, _bearer: object = Security(_BEARER), _header: object = Security(_HEADER)
) -> None:
    """Depend on this where a key is taken: OpenAPI says so then, and no route is without a gate.

    What the route declares that is reached is checked once more, so that a path that could be read
    in two ways leads nowhere.
    """
    guard: Guard = request.app.state.guard
    scope = declared_by(request.scope["endpoint"]).scope
    guard.require(request.scope["state"].get("caller"), scope)

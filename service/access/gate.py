"""Checks key, scope and rate before the body is read.

`Gate` is ASGI middleware and refuses by default: a route without a declaration needs a key. Routes
declare the scope that they need, or that they are open.
"""

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.guard import Caller, Guard
from service.access.sessions import Sessions
from service.errors import Forbidden, ServiceError
from service.http.declaration import Access, declared_by, match_of
from service.http.problems import problem_of, retry_headers
from service.http.request_log import problem_response, request_id_of
from service.telemetry.logs import note


class Gate:
    """ASGI middleware that admits a request if its caller is known and allowed."""

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard,
        metrics_require_key: bool = False,
        sessions: Sessions | None = None,
    ) -> None:
        """`sessions` are those of the browsers that load pages."""
        self._app = app
        self._guard = guard
        self._sessions = sessions
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
        matched = match_of(scope)
        declaration = matched.declaration
        caller = self._caller_of(scope, is_page=declaration.is_page)
        scope["state"]["caller"] = caller
        note(caller=caller.name)
        # Rates are of images: a search must not use up those of the line, nor the line its own.
        if declaration.inspects:
            self._guard.count_request(caller)
        try:
            self._guard.require(caller, declaration.scopes)
        except Forbidden:
            scope["route"] = matched.route  # counts the refusal for this route
            raise

    def _caller_of(self, scope: Scope, *, is_page: bool) -> Caller:
        if is_page and self._sessions is not None:
            return self._sessions.identify(scope)
        address = (scope.get("client") or ("",))[0]
        return self._guard.identify(scope["method"], Headers(scope=scope), address)


_BEARER = HTTPBearer(auto_error=False, description="an API key, printed by `mambaad keys new`")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="the same key")


async def takes_key(
    request: Request, _bearer: object = Security(_BEARER), _header: object = Security(_HEADER)
) -> None:
    """Dependency of routes that need a key; it also documents the key in OpenAPI.

    It checks the scope of the route that the router chose, in case `matching` chose another one.
    """
    guard: Guard = request.app.state.guard
    scopes = declared_by(request.scope["endpoint"]).scopes
    guard.require(request.scope["state"].get("caller"), scopes)

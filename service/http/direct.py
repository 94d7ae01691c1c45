"""Calls some routes' functions at once: the framework's router takes longer than such a route.

    app.add_middleware(Direct, answers={detect: answer_detect}, errors={ServiceError: answer_error})

`matching` has found the route before. The routes stay registered: they are in OpenAPI, and the
router answers them if a request does not match exactly.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.declaration import match_of

DirectAnswer: TypeAlias = Callable[[Request], Awaitable[Response]]
ErrorAnswer: TypeAlias = Callable[[Request, Exception], Response]


class Direct:
    """ASGI middleware, innermost: `answers` are by the route's function, `errors` by exception."""

    def __init__(
        self,
        app: ASGIApp,
        answers: Mapping[Callable[..., Any], DirectAnswer],
        errors: Mapping[type[Exception], ErrorAnswer],
    ) -> None:
        self._app = app
        self._answers = answers
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; requests to other routes pass through."""
        route: Any = match_of(scope).route if scope["type"] == "http" else None
        endpoint = getattr(route, "endpoint", None)
        answer = self._answers.get(endpoint) if endpoint is not None else None
        if answer is None or scope["method"] not in route.methods:
            await self._app(scope, receive, send)
            return
        scope.update(route=route, endpoint=endpoint, path_params={})
        request = Request(scope, receive, send)
        try:
            response = await answer(request)
        except tuple(self._errors) as error:
            response = self._answer_to(request, error)
        await response(scope, receive, send)

    def _answer_to(self, request: Request, error: Exception) -> Response:
        kind = next(kind for kind in self._errors if isinstance(error, kind))
        return self._errors[kind](request, error)

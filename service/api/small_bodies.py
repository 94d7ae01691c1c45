"""Small JSON bodies of operators: checked against bounds, then parsed by FastAPI."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.api.charsets import check_charset
from service.api.documents import JsonBounds, media_type_of, read_json
from service.api.limits import limited
from service.api.requests import reading_until
from service.errors import InvalidRequest

_MAX_BYTES = 16 * 2**10
_BOUNDS = JsonBounds(_MAX_BYTES, max_values=_MAX_BYTES, max_members=_MAX_BYTES)
_JSON = "application/json"


class SmallBodyRoute(APIRoute):
    """A route whose body, if any, is JSON of at most 16 kB.

    router = APIRouter(route_class=SmallBodyRoute)
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler after a check of the body."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_small(request: Request) -> Response:
            bounded = Request(request.scope, limited(request, _MAX_BYTES).receive)
            async with reading_until(None):
                content = await bounded.body()
            if content:
                content_type = request.headers.get("content-type", "")
                _check_type(content_type)
                check_charset(content_type, "body")
                read_json(content, _BOUNDS)
            return await handle(bounded)

        return handle_small


def _check_type(content_type: str) -> None:
    media_type = media_type_of(content_type)
    if media_type != _JSON and not media_type.endswith("+json"):
        got = repr(content_type[:100]) if content_type else "missing"
        raise InvalidRequest(f"the body's Content-Type is {got}: send {_JSON}")

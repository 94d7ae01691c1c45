"""The detect routes for `service.http.direct`: what the framework would do for them, and no more.

The same functions check the key and the query, and the same ones answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.access.gate import takes_key
from service.api.detect.routes import detect, detect_batch
from service.api.posting.fields import fields_in_query
from service.api.requests import check_query
from service.http.direct import DirectAnswer


async def _detect(request: Request) -> Response:
    return await detect(*await _arguments(request))


async def _detect_batch(request: Request) -> Response:
    return await detect_batch(*await _arguments(request))


async def _arguments(request: Request) -> tuple[Any, ...]:
    """Return the arguments of both routes, after the checks of every route."""
    await takes_key(request)
    await check_query(request)
    state = request.app.state
    return request, state.service, state.detect, await fields_in_query(request)


DIRECT: Mapping[Callable[..., Any], DirectAnswer] = {detect: _detect, detect_batch: _detect_batch}
"""The answers by the routes' functions."""

"""Routes that are called without the framework's router, as the server would call them."""

import asyncio

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response

from service.http.declaration import declares
from service.http.direct import Direct
from service.http.matching import Matching


class Refused(Exception):
    """An error that the service answers."""


@declares(inspects=True)
async def weigh(request: Request) -> Response:
    return Response("by the router")


async def weigh_at_once(request: Request) -> Response:
    if "refuse" in request.query_params:
        raise Refused("too heavy")
    if "fail" in request.query_params:
        raise RuntimeError("the scale is broken")
    return Response(f"at once: {request.scope['route'].path} {len(await request.body())}")


def refuse(request: Request, error: Exception) -> Response:
    return Response(f"{request.url.path}: {error}", 422)


@pytest.fixture
def client():
    app = FastAPI()
    router = APIRouter()
    router.post("/weigh")(weigh)
    router.post("/weigh/again")(declares(inspects=True)(lambda: Response("another")))
    app.include_router(router)
    app.add_middleware(Direct, answers={weigh: weigh_at_once}, errors={Refused: refuse})
    app.add_middleware(Matching, routes=app.routes)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/weigh", 200, "at once: /weigh 3"),
        ("POST", "/weigh?refuse=1", 422, "/weigh: too heavy"),
        ("POST", "/weigh?fail=1", 500, "Internal Server Error"),
        ("GET", "/weigh", 405, '{"detail":"Method Not Allowed"}'),
        ("POST", "/weigh/again", 200, "another"),
        ("POST", "/weighed", 404, '{"detail":"Not Found"}'),
    ],
)
def test_a_request_that_matches_exactly_is_answered_at_once(client, method, path, status, text):
    async def send() -> httpx.Response:
        async with client:
            return await client.request(method, path, content=b"abc")

    answer = asyncio.run(send())
    assert (answer.status_code, answer.text) == (status, text)

"""Any exception inside a request gets an answer that reveals nothing about it."""

import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from service.http.request_log import RequestLog


@pytest.fixture
def ask(metrics):
    app = FastAPI()
    app.add_middleware(RequestLog, metrics=metrics)

    @app.get("/broken/{name}")
    async def broken(name: str):
        raise RuntimeError("password=hunter2")

    @app.get("/half")
    async def half():
        async def chunks():
            yield b"half"
            raise RuntimeError("in the middle")

        return StreamingResponse(chunks())

    def get(path: str) -> httpx.Response:
        async def scenario() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.get(path)

        return asyncio.run(scenario())

    return get


def test_an_unforeseen_error_is_a_plain_500(ask, problem, caplog, metrics):
    with caplog.at_level(logging.ERROR, "service"):
        response = ask("/broken/x")
    body = problem(response, 500, "internal-error")
    assert "hunter2" not in response.text
    (record,) = caplog.records
    assert "hunter2" in str(record.exc_info[1])
    assert record.fields["request_id"] == body["request_id"]


def test_it_is_counted_under_the_routes_template(ask, metrics):
    ask("/broken/x")
    ask("/broken/y")
    labels = {"route": "/broken/{name}", "code": "500"}
    assert metrics.registry.get_sample_value("mambaad_requests_total", labels) == 2


def test_half_an_answer_is_cut_off_and_not_patched_up(ask):
    with pytest.raises(RuntimeError, match="in the middle"):
        ask("/half")

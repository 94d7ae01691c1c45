"""Bodies: counted on the wire and inflated; time counts only while waiting for the client."""

import asyncio
import gzip
import json
import zlib

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.errors import ServiceError
from service.http.bodies import BodyBudget, BodyGuard
from service.telemetry.metrics import Metrics

LIMIT = 1000


@pytest.fixture
def budget():
    return BodyBudget(LIMIT, 5 * LIMIT, timeout_s=30, min_bytes_per_s=10_000)


async def echo(scope, receive, send):
    request = Request(scope, receive)
    body = await request.body()
    encoding = request.headers.get("content-encoding", "-")
    await PlainTextResponse(f"{encoding} {len(body)}")(scope, receive, send)


async def swallow(scope, receive, send):
    """An application that takes any failure of the body for its own, like FastAPI with JSON."""
    try:
        await Request(scope, receive).body()
    except Exception:
        await PlainTextResponse("there was an error parsing the body", 400)(scope, receive, send)


def ask(budget, pieces, headers=(), app=echo, pause_s=0.0, sent=None):
    """Send the pieces; return (status, headers, body)."""
    sent = [] if sent is None else sent

    async def scenario():
        waiting = list(pieces)

        async def receive():
            await asyncio.sleep(pause_s)
            if not waiting:
                await asyncio.Event().wait()
            body = waiting.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(waiting)}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/", "headers": list(headers),
            "state": {"request_id": "x"},
        }  # fmt: skip
        await BodyGuard(app, budget, Metrics(CollectorRegistry()))(scope, receive, send)

    asyncio.run(scenario())
    start, *bodies = sent
    assert budget.held_bytes == 0
    return start["status"], dict(start["headers"]), b"".join(b.get("body", b"") for b in bodies)


def refused(answer, status, slug):
    assert answer[0] == status
    assert answer[1][b"content-type"] == b"application/problem+json"
    problem = json.loads(answer[2])
    assert problem["type"].endswith(f":{slug}")
    return problem["detail"]


def header(name, value):
    return [(name.encode(), value.encode())]


def test_a_body_up_to_the_limit_comes_through(budget):
    assert ask(budget, [b"a" * 400, b"b" * 600])[2] == b"- 1000"


@pytest.mark.parametrize("app", [echo, swallow])
def test_a_chunked_body_is_counted_as_it_comes(budget, app):
    refused(ask(budget, [b"a"] * (LIMIT + 1), app=app), 413, "body-too-large")


def test_a_declared_length_is_enough_to_refuse(budget):
    async def never(scope, receive, send):
        raise AssertionError("nobody asked")

    answer = ask(budget, [b""], header("content-length", str(LIMIT + 1)), never)
    assert str(LIMIT) in refused(answer, 413, "body-too-large")


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("x-gzip", gzip.compress)],
)
@pytest.mark.parametrize("size", [1, 7])
def test_a_compressed_body_arrives_inflated(budget, encoding, compress, size):
    content = compress(b"part" * 100)
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    answer = ask(budget, pieces, header("content-encoding", encoding))
    assert answer[2] == b"- 400"


def test_what_fills_the_last_piece_to_the_brim_is_not_lost():
    budget = BodyBudget(2**22, 2**22, 1, 1)
    for size in (2**18 - 1, 2**18, 2**18 + 1, 2**20):
        answer = ask(budget, [gzip.compress(bytes(size))], header("content-encoding", "gzip"))
        assert answer[2] == b"- %d" % size


def test_a_bomb_stops_at_the_limit(budget):
    bomb = gzip.compress(bytes(50_000_000))
    budget.max_bytes = budget.max_inflight_bytes = 100_000
    refused(ask(budget, [bomb], header("content-encoding", "gzip")), 413, "body-too-large")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip at all", "is not valid gzip"),
        (gzip.compress(b"part", mtime=0)[:-3], "is cut off"),
        (gzip.compress(b"part", mtime=0) + b"more", "follow"),
    ],
)
@pytest.mark.parametrize("app", [echo, swallow])
def test_a_damaged_stream_is_refused(budget, content, message, app):
    answer = ask(budget, [content], header("content-encoding", "gzip"), app)
    assert message in refused(answer, 400, "malformed-body")


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_any_other_encoding_is_refused(budget, encoding):
    answer = ask(budget, [b"x"], header("content-encoding", encoding))
    refused(answer, 415, "unsupported-encoding")
    assert answer[1][b"accept-encoding"] == b"gzip, deflate"


def test_a_body_that_does_not_come_is_waited_for_only_so_long(budget):
    budget.timeout_s = 0.1
    answer = ask(budget, [b"a"] * 500, pause_s=0.02)
    assert "bytes in 0 s" in refused(answer, 408, "body-too-slow")
    assert answer[1][b"connection"] == b"close"


def test_bytes_earn_time(budget):
    """Ten pieces take 0.2 s, more than is granted without them."""
    budget.timeout_s, budget.min_bytes_per_s = 0.1, 10
    assert ask(budget, [b"a" * 100] * 10, pause_s=0.02)[2] == b"- 1000"


def test_the_time_that_the_application_takes_does_not_count(budget):
    budget.timeout_s = 0.1

    async def slow(scope, receive, send):
        await receive()
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)

    assert ask(budget, [b"a", b"b"], app=slow)[0] == 200


def test_all_bodies_together_have_a_limit_too(budget):
    budget.held_bytes = 5 * LIMIT - 10
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": bytes(11), "more_body": False}

    scope = {"type": "http", "headers": [], "state": {"request_id": "x"}}
    asyncio.run(BodyGuard(echo, budget, Metrics(CollectorRegistry()))(scope, receive, send))
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]
    assert budget.held_bytes == 5 * LIMIT - 10


class Answer:
    """An application that holds each of `pieces` and answers with `size` bytes."""

    def __init__(self, *pieces, size=0):
        self.pieces, self.size = pieces, size

    async def __call__(self, scope, receive, send):
        try:
            for piece in self.pieces:
                scope["state"]["hold_answer"](piece)
        except ServiceError as error:
            await PlainTextResponse(type(error).__name__, 400)(scope, receive, send)
            return
        await Response(bytes(range(256)) * (self.size // 256))(scope, receive, send)


def test_what_an_answer_holds_is_counted_and_let_go(budget):
    assert ask(budget, [b""], app=Answer(LIMIT))[0] == 200
    assert ask(budget, [b""], app=Answer(LIMIT, 1))[2] == b"AnswerTooLarge"
    budget.max_inflight_bytes = LIMIT // 2
    assert ask(budget, [b""], app=Answer(LIMIT))[2] == b"BodiesFull"


@pytest.mark.parametrize("size", [0, 256, 2**18, 2**18 + 256, 3 * 2**18])
def test_a_large_answer_goes_out_in_pieces(budget, size):
    sent = []
    status, headers, body = ask(budget, [b""], app=Answer(size=size), sent=sent)
    assert (status, body) == (200, bytes(range(256)) * (size // 256))
    assert int(headers[b"content-length"]) == size
    assert max(len(message.get("body", b"")) for message in sent) <= 2**18
    assert [m.get("more_body", False) for m in sent[1:]] == [True] * (len(sent) - 2) + [False]

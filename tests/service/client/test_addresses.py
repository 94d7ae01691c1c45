"""A client with the addresses of several nodes: where a call begins, and where it goes on."""

import asyncio

import httpx
import pytest

from service import client as api
from service.client import AsyncClient, Client, Retry
from service.client.addresses import Addresses
from service.client.exchange import Call, Pause, exchange
from tests.service.client.test_client import NO_WAIT, Script, answered, refused

NODES = ("http://first:1", "http://second:2", "http://third:3")


def nodes_client(script, **options):
    return Client(NODES, transport=httpx.MockTransport(script), **{"retry": NO_WAIT} | options)


def hosts(script):
    return [request.url.host for request in script.requests]


@pytest.mark.parametrize(
    "outcome",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("silent"),
        refused(503, "1"),
        refused(503, ""),
        refused(504, ""),
    ],
)
def test_a_part_goes_on_at_the_next_address_under_the_same_id(outcome):
    script = Script(outcome, answered(), answered())
    with nodes_client(script) as client:
        assert client.detect(b"image", category="bolt")[0].is_ok
        assert client.detect(b"image", category="bolt")[0].is_ok
    assert hosts(script) == ["first", "second", "second"]
    first, second, other = script.requests
    for header in ("x-inspection-id", "idempotency-key"):
        assert first.headers[header] == second.headers[header] != other.headers[header]
    assert (first.content, second.content) == (b"image", b"image")


def test_each_address_has_a_share_of_the_time():
    now = 0.0
    call = Call("POST", "/detect", 12.0, {"Idempotency-Key": "k"})
    rules = Retry(4, backoff_s=1, max_backoff_s=1)
    work = exchange(call, rules, Addresses(NODES), clock=lambda: now)
    assert work.send(None).timeout_s == 4
    now = 2.0
    assert work.send(refused(503, "1")).timeout_s == 5
    now = 6.0
    assert work.send(httpx.ReadTimeout("silent")).timeout_s == 6
    assert work.send(refused(503, "3")) == Pause(3.0), "each had its turn"
    now = 9.0
    step = work.send(None)
    assert (step.address.host, step.timeout_s) == ("first", 3)
    with pytest.raises(api.Unavailable):
        work.send(refused(503, "1"))


def test_a_caller_with_too_many_images_waits_where_it_is():
    script = Script(refused(429, "0"), answered())
    with nodes_client(script) as client:
        client.detect(b"image", category="bolt")
    assert hosts(script) == ["first", "first"]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (httpx.ReadError("reset"), api.ConnectionLost),
        (httpx.ReadTimeout("silent"), api.DeadlineExceeded),
        (refused(504, ""), api.DeadlineExceeded),
    ],
)
def test_without_a_key_no_other_address_gets_what_may_have_been_inspected(outcome, error):
    script = Script(httpx.ConnectError("refused"), outcome, answered())
    with nodes_client(script) as client, pytest.raises(error):
        client.detect(b"image", category="bolt", idempotency_key="")
    assert hosts(script) == ["first", "second"], "nothing was sent to the first"
    assert int(script.requests[1].headers["x-request-timeout-ms"]) > 29_000


def test_an_answer_of_one_node_is_not_asked_for_again():
    script = Script(refused(422, "", kind="undecodable-image"))
    with nodes_client(script) as client, pytest.raises(api.ImageRefused):
        client.detect(b"image", category="bolt")
    assert hosts(script) == ["first"]


def test_where_all_are_away_the_last_failure_is_told():
    script = Script(*[httpx.ConnectError(f"{name} refused") for name in ("1st", "2nd", "3rd")])
    with nodes_client(script) as client, pytest.raises(api.CannotConnect, match="3rd"):
        client.detect(b"image", category="bolt")
    assert hosts(script) == ["first", "second", "third"]


def test_one_node_that_answers_says_whether_it_is_ready():
    body = {"ready": False, "reasons": ["warming up"]}
    script = Script(httpx.ConnectError("refused"), httpx.Response(503, json=body))
    with nodes_client(script) as client:
        assert not client.ready().ready
    assert hosts(script) == ["first", "second"]


def test_the_async_client_goes_on_elsewhere_too():
    script = Script(httpx.ReadTimeout("silent"), answered())

    async def once():
        transport = httpx.MockTransport(script)
        async with AsyncClient(NODES, transport=transport, retry=NO_WAIT) as client:
            before = client.url
            await client.detect(b"image", category="bolt")
            return before, client.url

    assert asyncio.run(once()) == ("http://first:1", "http://second:2")
    assert hosts(script) == ["first", "second"]


def test_addresses_are_urls():
    with pytest.raises(ValueError, match="got none"):
        Client([])
    with pytest.raises(ValueError, match="'second:2'"):
        Client(["http://first:1", "second:2"])

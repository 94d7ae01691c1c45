"""Framing of requests and bodies: trailers, chunk extensions, hosts, and their order."""

import time

import pytest

from tests.service.http.test_connection import (
    LIMITS,
    POST,
    REQUEST,
    connect,
    cut,
    everything,
    is_served,
    one_answer,
    refusal,
    serve,
)

__all__ = ["connect", "cut", "serve"]  # fixtures

CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def flood(client, piece, most=5_000_000):
    """Send a piece repeatedly until the other side closes; return the bytes sent."""
    sent = 0
    while sent < most:
        try:
            client.sendall(piece)
        except OSError:
            break
        sent += len(piece)
    return sent


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        (b"3\r\nabc\r\n0\r\nX-A: ", b"a" * 10_000),
        (b"3\r\nabc\r\n0\r\n", b"X-A: 1\r\n" * 1000),
        (b"3\r\nabc\r\n0;", b"a" * 10_000),
        (b"1;", b"a" * 10_000),
        (b"", b"1;" + b"a" * 5000 + b"\r\nx\r\n"),
        (b"3\r\nabc\r\n" * 10_000 + b"0\r\nX-A: ", b"a" * 10_000),
    ],
    ids=["a trailer", "trailers", "a last extension", "an extension", "extensions", "a late one"],
)
def test_what_surrounds_a_body_is_limited_as_headers_are(connect, cut, before, piece):
    with connect(CHUNKED + before) as client:
        sent = flood(client, piece)
        refusal(everything(client), 431, "headers-too-large")
    assert sent < 5_000_000
    assert cut("headers-too-large") == 1
    assert is_served(connect)


@pytest.mark.parametrize(
    "body",
    [
        b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n",
        b"1;name=value\r\na\r\n" * 50_000 + b"0\r\n\r\n",
        b"c350\r\n" + b"a" * 50_000 + b"\r\n0\r\nX-Checksum: " + b"a" * 3000 + b"\r\n\r\n",
    ],
    ids=["chunks of a byte", "short extensions", "a trailer within the limit"],
)
def test_odd_framing_within_the_limit_is_taken(connect, body):
    with connect(CHUNKED + body) as client:
        assert one_answer(client)[1] == b"echo 50000"


def test_requests_in_one_piece_count_for_none_of_their_bodies(connect):
    """A piece with many requests' headers exceeds one request's limit for bytes around its body."""
    ahead = 200
    with connect((REQUEST % b"echo") * ahead + CHUNKED + b"3\r\nabc\r\n") as client:
        for _ in range(ahead):
            assert one_answer_of(client, b"echo 0")
        client.sendall(b"0\r\n\r\n")
        assert one_answer(client)[1] == b"echo 3"


@pytest.mark.parametrize(
    "hosts",
    [b"", b"Host: x\r\nHost: x\r\n", b"Host: x\r\nhost: y\r\n"],
    ids=["none", "same", "two"],
)
def test_a_request_has_one_host(connect, hosts):
    with connect(b"GET /echo HTTP/1.1\r\n" + hosts + b"\r\n") as client:
        received = everything(client)
    refusal(received, 400, "malformed-request")
    assert b"one Host header" in received
    assert is_served(connect)


def test_an_older_request_needs_no_host(connect):
    with connect(b"GET /echo HTTP/1.0\r\n\r\n") as client:
        assert one_answer(client)[1] == b"echo 0"


MALFORMED = {
    "no method": (b"\x00\x01\x02 / HTTP/1.1\r\n\r\n", 400, "malformed-request"),
    "no header": (b"GET / HTTP/1.1\r\nHost: x\r\n(\r\n\r\n", 400, "malformed-request"),
    "no URL": (b"GET http://a:99999999/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed-request"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "malformed-request"),
    "no chunk": (CHUNKED + b"zz\r\n", 400, "malformed-request"),
    "no end": (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 5000, 431, "headers-too-large"),
}


@pytest.mark.parametrize(("second", "status", "slug"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_malformed_request_waits_for_the_answers_before_it(
    connect, second, status, slug, ahead, pause_s
):
    first = POST % (b"echo", 3) + b"abc"
    with connect(first * ahead) as client:
        time.sleep(pause_s)
        client.sendall(second + first)
        for _ in range(ahead):
            assert one_answer_of(client, b"echo 3")
        refusal(everything(client), status, slug)
    assert is_served(connect)


def one_answer_of(client, expected):
    """Read only this answer: the next may be in the same packet."""
    received = b""
    while not received.endswith(expected):
        piece = client.recv(1)
        assert piece, received
        received += piece
    return received.startswith(b"HTTP/1.1 200 ")


def test_a_slow_answer_is_not_swallowed_either(serve):
    patient = LIMITS.model_copy(update={"send_timeout_s": 20.0})
    with serve(patient) as connect, connect(REQUEST % b"big" + b"\x00\r\n\r\n") as client:
        received = everything(client)
    head, _, remainder = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    refusal(remainder[20_000_000:], 400, "malformed-request")


def test_a_body_that_breaks_off_after_its_answer_gets_no_other(connect):
    with connect(CHUNKED.replace(b"/echo", b"/deaf") + b"3\r\nabc\r\n") as client:
        assert one_answer(client)[1] == b"deaf 0"
        client.sendall(b"zz\r\n")
        assert everything(client) == b""

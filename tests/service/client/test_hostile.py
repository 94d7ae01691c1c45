"""Hostile servers cause an `InspectionError` within the deadline, and never an OK."""

import asyncio
import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from service.cli import main as cli
from service.client import AsyncClient, Client, InspectionError, Retry, UnexpectedAnswer
from service.client.results import Decision, read_results

GOOD = {
    "category": "bolt", "decision": "OK", "score": 0.1, "raw_score": 0.2, "threshold": 1.0,
}  # fmt: skip
ONCE = Retry(attempts=1)


def answer_of(body, status="200 OK", headers=(), length=True):
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", "Connection: close", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def results(*items):
    return json.dumps({"results": list(items)}).encode()


@contextmanager
def answering(pieces):
    """Serve one answer, in pieces, to every client; yield the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def answer(connection):
        with connection:
            try:
                connection.recv(2**20)
                for piece in pieces():
                    if stopped.is_set():
                        return
                    connection.sendall(piece)
            except OSError:  # the client hung up
                return

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def bomb():
    """860 MB of blanks before a good answer, compressed to a megabyte."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    blanks = bytes(b" " * 2**20)
    packed = [deflate.compress(blanks) for _ in range(820)]
    return b"".join([*packed, deflate.compress(results(GOOD)), deflate.flush()])


def endless():
    yield answer_of(b"", length=False) + b'{"results": [' + b" " * 1000
    while True:
        yield b" " * 2**16


def trickling():
    yield answer_of(b"", headers=["Transfer-Encoding: chunked"], length=False)
    while True:
        yield b"1\r\n \r\n"
        time.sleep(0.05)


def slow_headers():
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(10_000):
        yield f"X-{number}: a\r\n".encode()
        time.sleep(0.05)


def once(content):
    return lambda: iter([content])


ANSWERS = {
    "brackets": once(answer_of(b"[" * 100_000)),
    "brackets of a problem": once(answer_of(b"[" * 100_000, "503 Service Unavailable")),
    "a number of 5000 digits": once(answer_of(b'{"results": ' + b"1" * 5000 + b"}")),
    "a status of 5000 digits": once(answer_of(b'{"status": ' + b"1" * 5000 + b"}", "500 Oh")),
    "a score of 5000 digits": once(
        answer_of(results(GOOD).replace(b'"score": 0.1', b'"score": ' + b"1" * 5000))
    ),
    "a bomb": once(answer_of(bomb(), headers=["Content-Encoding: gzip"])),
    "a bomb in brotli": once(answer_of(b"x", headers=["Content-Encoding: br"])),
    "gzip twice": once(
        answer_of(
            gzip.compress(gzip.compress(results(GOOD))), headers=["Content-Encoding: gzip, gzip"]
        )
    ),
    "gzip cut short": once(
        answer_of(gzip.compress(results(GOOD))[:-9], headers=["Content-Encoding: gzip"])
    ),
    "gzip that is none": once(answer_of(results(GOOD), headers=["Content-Encoding: gzip"])),
    "endless": endless,
    "trickling": trickling,
    "slow headers": slow_headers,
    "cut short": once(answer_of(results(GOOD))[:-3]),
    "no HTTP": once(b"\x00\xff" * 1000),
    "nothing": once(b""),
    "HTML": once(answer_of(b"<p>OK</p>").replace(b"application/json", b"text/html")),
    "JSON as text": once(answer_of(results(GOOD)).replace(b"application/json", b"text/plain")),
    "UTF-16": once(answer_of(results(GOOD).decode().encode("utf-16"))),
    "a list": once(answer_of(b"[]")),
    "no results": once(answer_of(results())),
    "two results": once(answer_of(results(GOOD, GOOD))),
    "results that are none": once(answer_of(results("OK"))),
    "no decision": once(answer_of(results({k: v for k, v in GOOD.items() if k != "decision"}))),
    "an unknown decision": once(answer_of(results(GOOD | {"decision": "FINE"}))),
    "a small decision": once(answer_of(results(GOOD | {"decision": "ok"}))),
    "a decision that is true": once(answer_of(results(GOOD | {"decision": True}))),
    "a list of a decision": once(answer_of(results(GOOD | {"decision": ["OK"]}))),
    "two decisions": once(
        answer_of(results(GOOD).replace(b'"decision"', b'"decision": "NG", "decision"'))
    ),
    "a score that is NaN": once(answer_of(results(GOOD).replace(b"0.1", b"NaN"))),
    "a score that is infinite": once(answer_of(results(GOOD).replace(b"0.1", b"1e999"))),
    "a threshold that is none": once(answer_of(results(GOOD | {"threshold": None}))),
    "another category": once(answer_of(results(GOOD | {"category": "nut"}))),
    "an error beside it": once(answer_of(results(GOOD | {"error": {"status": 500}}))),
    "a redirect": once(answer_of(b"", "307 Temporary Redirect", ["Location: http://127.0.0.1:1/"])),
    "created": once(answer_of(results(GOOD), "201 Created")),
    "no content": once(answer_of(b"", "204 No Content")),
    "a status that is none": once(answer_of(results(GOOD), "999 Odd")),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_no_answer_of_these_is_a_result(name):
    with answering(ANSWERS[name]) as url, Client(url, timeout_ms=1000, retry=ONCE) as client:
        started = time.monotonic()
        with pytest.raises(InspectionError) as error:
            (result,) = client.detect(b"an image", category="bolt")
            result.require()
        assert time.monotonic() - started < 10
        assert len(str(error.value)) < 2000


@pytest.mark.parametrize("name", ["a bomb", "brackets", "endless", "trickling", "slow headers"])
def test_nor_for_the_async_client(name):
    async def ask(url):
        async with AsyncClient(url, timeout_ms=1000, retry=ONCE) as client:
            with pytest.raises(InspectionError):
                await client.detect(b"an image", category="bolt")

    with answering(ANSWERS[name]) as url:
        asyncio.run(ask(url))


def test_the_same_server_with_a_good_answer_is_understood():
    for content in (
        answer_of(results(GOOD)),
        answer_of(gzip.compress(results(GOOD)), headers=["Content-Encoding: gzip"]),
    ):
        with answering(once(content)) as url, Client(url, retry=ONCE) as client:
            (result,) = client.detect(b"an image", category="bolt")
            assert result.is_ok


def test_a_bomb_is_inflated_no_further_than_the_bound():
    with answering(ANSWERS["a bomb"]) as url, Client(url, retry=ONCE) as client:
        tracemalloc.start()
        with pytest.raises(UnexpectedAnswer, match="got more"):
            client.detect(b"an image", category="bolt")
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name", ["brackets", "a number of 5000 digits", "a bomb", "HTML", "no decision", "trickling"]
)
def test_the_command_ends_with_2(name, tmp_path):
    (tmp_path / "part.png").write_bytes(b"an image")
    command = ["detect", str(tmp_path / "part.png"), "--category", "bolt", "--timeout-ms", "1000"]
    with answering(ANSWERS[name]) as url:
        answer = CliRunner().invoke(cli.build_commands(), [*command, "--url", url])
    assert answer.exit_code == 2, answer.output
    assert "UNDECIDED" in answer.output


@pytest.mark.parametrize("error", [RuntimeError("odd"), MemoryError(), KeyboardInterrupt()])
def test_whatever_else_fails_the_command_ends_with_2(error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    (tmp_path / "part.png").write_bytes(b"an image")
    monkeypatch.setattr("service.client.Client.detect", fail)
    command = ["detect", str(tmp_path / "part.png"), "--category", "bolt"]
    assert CliRunner().invoke(cli.build_commands(), command).exit_code == 2
    monkeypatch.setattr("service.cli.detect._as_text", fail)
    assert CliRunner().invoke(cli.build_commands(), command).exit_code == 2


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["OK", "NG", "bolt"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*GOOD, "regions", "error", "model", "meta", "image"]), VALUES),
    st.sampled_from([200, 200, 200, 201, 307, 404, 429, 500, 503]),
)
def test_a_result_with_random_fields_is_ok_only_where_it_says_so(fields, status):
    body = json.dumps({"results": [{**GOOD, "decision": None, **fields}]})
    response = httpx.Response(
        status,
        content=body,
        headers={"content-type": "application/json"},
        request=httpx.Request("POST", "http://a/"),
    )
    try:
        (result,) = read_results(response, ["bolt"], ["a.png"])
    except InspectionError:
        return
    assert status == 200
    if result.decision is Decision.OK:
        assert fields["decision"] == "OK"
        assert None not in (result.score, result.raw_score, result.threshold)

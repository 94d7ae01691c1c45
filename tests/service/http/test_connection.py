"""Raw socket connections: slow, greedy, silent and rude clients, and others beside them."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http import connection as connections
from service.http.connection import Connection, connection_class
from service.http.server import GracefulServer, listen, server_config
from service.settings import HttpSettings
from service.shutdown import Shutdown

LIMITS = HttpSettings(
    max_connections=8,
    max_header_bytes=4000,
    header_timeout_s=0.3,
    send_timeout_s=0.3,
    min_body_bytes_per_s=1000,
    keep_alive_s=0.5,
)
REQUEST = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


async def application(scope, receive, send):
    """`/echo` answers with the body's length, `/big` with 20 MB; `/deaf` reads no body."""
    name = scope["path"].strip("/")
    body, more = b"", name != "deaf"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    answer = bytes(20_000_000) if name == "big" else b"%s %d" % (name.encode(), len(body))
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def cut(metrics):
    """Count the cut connections by reason."""
    return lambda reason: (
        metrics.registry.get_sample_value("mambaad_connections_cut_total", {"reason": reason}) or 0
    )


@pytest.fixture
def serve(metrics):
    @contextmanager
    def start(limits=LIMITS, grace_s=0.0):
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            application,
            http=connection_class(limits, metrics),
            log_config=None,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=5,
        )
        server = GracefulServer(config, Shutdown(), grace_s)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = listener.getsockname()

        def connect(*data: bytes) -> socket.socket:
            client = socket.create_connection(address, timeout=10)
            for piece in data:
                client.sendall(piece)
            return client

        connect.server = server
        try:
            yield connect
        finally:
            server.should_exit = True
            thread.join(20)
            listener.close()
            assert not thread.is_alive()

    return start


@pytest.fixture
def connect(serve):
    with serve() as connect:
        yield connect


def everything(client):
    """Return everything received until the other side closes."""
    received = b""
    with client:
        try:
            while piece := client.recv(2**16):
                received += piece
        except ConnectionResetError:
            pass
    return received


def one_answer(client):
    """Return the next answer on the connection, headers and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(2**16)
        assert piece, received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    (length,) = [int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")]
    content = bytearray(body)  # a client that copies megabytes for each piece reads too slowly
    while len(content) < length:
        piece = client.recv(2**16)
        assert piece, f"{len(content)} of {length} bytes"
        content += piece
    assert len(content) == length
    return head, bytes(content)


def refusal(received, status, slug):
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received
    assert b"application/problem+json" in head
    assert json.loads(body)["type"].endswith(f":{slug}")


def is_served(connect):
    with connect(REQUEST % b"echo") as client:
        return one_answer(client)[1] == b"echo 0"


def test_an_answer_leaves_in_one_piece(connect):
    with connect(REQUEST % b"echo") as client:
        received = client.recv(2**16)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\necho 0")


BY_THE_PARSER = {
    "on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body",
    "on_message_complete",
}  # fmt: skip
BY_THE_LOOP = {
    "connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing",
}  # fmt: skip
BY_UVICORN = {"on_response_complete", "shutdown"}


@pytest.fixture
def callers(monkeypatch):
    """Return the files that called each connection method that uvicorn has too."""
    seen = {name: set() for name in vars(Connection) if hasattr(HttpToolsProtocol, name)}
    seen = {name: files for name, files in seen.items() if not name.startswith("__")}

    def watched(name, method):
        def call(self, *args):
            seen[name].add(sys._getframe(1).f_code.co_filename)
            return method(self, *args)

        return call

    for name in seen:
        monkeypatch.setattr(Connection, name, watched(name, getattr(Connection, name)))
    return seen


def test_uvicorn_still_calls_what_is_overridden(serve, callers):
    """If a newer uvicorn fails this, our limits have no effect: see `service.http.connection`."""
    assert set(callers) == BY_THE_PARSER | BY_THE_LOOP | BY_UVICORN
    with serve() as connect:
        with connect(REQUEST % b"big") as client:
            time.sleep(0.1)  # until the answer has filled the buffers
            assert len(one_answer(client)[1]) == 20_000_000
        idle = connect(POST % (b"echo", 3) + b"abc")
        assert one_answer(idle)[1] == b"echo 3"
    assert everything(idle) == b""
    assert not [name for name, files in callers.items() if not files]
    for name in BY_UVICORN:
        assert any("uvicorn" in file for file in callers[name]), name
    for name in BY_THE_PARSER:
        assert any(file == connections.__file__ for file in callers[name]), name


def test_uvicorn_still_asks_the_server_when_to_leave(monkeypatch):
    called = []
    for name in ("handle_exit", "on_tick"):
        assert hasattr(uvicorn.Server, name)
        method = getattr(GracefulServer, name)
        monkeypatch.setattr(
            GracefulServer,
            name,
            # A server shared by other tests may tick in a thread of this process.
            lambda *args, m=method: (args[0] is server and called.append(m.__name__)) or m(*args),
        )
    server = GracefulServer(
        uvicorn.Config(application, lifespan="off", log_config=None), Shutdown(), 0.0
    )
    with server.capture_signals():
        signal.raise_signal(signal.SIGINT)
    asyncio.run(server.main_loop())
    assert called == ["handle_exit", "on_tick"]
    assert server.should_exit


def test_without_limits_it_serves_by_uvicorns_own_connections(monkeypatch, metrics):
    """It does not even import ours, which may not fit the installed uvicorn."""
    monkeypatch.setitem(sys.modules, "service.http.connection", None)
    settings = LIMITS.model_copy(update={"connection_limits": False})
    app = FastAPI()
    app.state.metrics = metrics
    app.get("/echo")(lambda: "served")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = GracefulServer(server_config(app, settings), Shutdown(), 0.0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=10) as client:
                client.sendall(b"GET /echo HTTP/1.1\r\n")
                time.sleep(2 * settings.header_timeout_s)
                client.sendall(b"Host: x\r\nX-A: " + bytes(b"a" * 5000) + b"\r\n\r\n")
                assert one_answer(client)[1] == b'"served"'
                assert everything(client) == b""  # it does not idle forever
        finally:
            server.should_exit = True
            thread.join(20)


def test_uvloop_is_left_alone_where_it_is_installed(metrics, monkeypatch):
    """uvloop has other transports than asyncio, and its clock counts milliseconds."""
    uvloop = SimpleNamespace(new_event_loop=lambda: pytest.fail("a loop of uvloop's"))
    monkeypatch.setitem(sys.modules, "uvloop", uvloop)
    app = SimpleNamespace(state=SimpleNamespace(metrics=metrics))
    factory = server_config(app, HttpSettings()).get_loop_factory()
    with contextlib.closing(factory()) as loop:
        assert isinstance(loop, asyncio.SelectorEventLoop)


@pytest.mark.serial
def test_headers_that_trickle_are_cut_and_others_are_served(connect, cut):
    slow = [connect(b"GET /echo HTTP/1.1\r\n") for _ in range(5)]
    started = time.monotonic()
    for client in slow:
        client.sendall(b"X-A: 1\r\n")
    assert is_served(connect)
    for client in slow:
        refusal(everything(client), 408, "headers-too-slow")
    assert time.monotonic() - started < 3
    assert cut("headers-too-slow") == 5


@pytest.mark.serial
def test_bytes_that_go_on_trickling_do_not_help(connect):
    client, started = connect(b"GET /echo HTTP/1.1\r\n"), time.monotonic()
    with pytest.raises(OSError), client:
        while time.monotonic() < started + 5:
            client.sendall(b"a")
            time.sleep(0.05)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("opening", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_who_says_nothing_is_let_go(connect, opening):
    assert everything(connect(opening)) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /echo HTTP/1.1\r\nX-A: " + b"a" * 5000,
        b"GET /echo HTTP/1.1\r\nX-A: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /echo HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 5000,
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_headers_have_a_size(connect, cut, head):
    refusal(everything(connect(head[:100], head[100:])), 431, "headers-too-large")
    assert cut("headers-too-large") == 1
    assert is_served(connect)


def test_trailers_count_as_headers_and_are_none(connect):
    chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    with connect(chunked + b"X-API-Key: k\r\n\r\n") as client:
        assert one_answer(client)[1] == b"echo 1"
    assert b"echo" not in everything(connect(chunked + b"A: b\r\n" * 5000))


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_without_a_traceback(connect, rubbish, caplog):
    received = everything(connect(rubbish))
    assert not received or received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 500 "))
    assert not [record for record in caplog.records if record.exc_info]
    assert is_served(connect)


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_an_offer_of_another_protocol_is_passed_over(connect, upgrade, pause_s):
    """Java's client offers HTTP/2: its body must not be taken for the next request."""
    head = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: %s\r\nHTTP2-Settings: AA\r\nContent-Length: 27\r\n\r\n"
    )
    client = connect(head % upgrade)
    with client:
        time.sleep(pause_s)
        client.sendall(b"GET /smuggled HTTP/1.1\r\n\r\n.")
        assert one_answer(client)[1] == b"echo 27"
        client.sendall(REQUEST % b"next")
        assert one_answer(client)[1] == b"next 0"


@pytest.mark.serial
def test_a_connection_is_used_again_and_idles_only_so_long(connect):
    client = connect()
    for _ in range(3):
        client.sendall(POST % (b"echo", 3) + b"abc")
        assert one_answer(client)[1] == b"echo 3"
    started = time.monotonic()
    assert everything(client) == b""
    assert 0.3 < time.monotonic() - started < 3


def test_requests_one_after_the_other_in_one_piece_are_answered_in_order(connect):
    with connect(REQUEST % b"a" + REQUEST % b"b" + REQUEST % b"c") as client:
        received = b""
        while b"c 0" not in received:
            received += client.recv(2**16)
    assert received.index(b"a 0") < received.index(b"b 0") < received.index(b"c 0")


@pytest.mark.serial
def test_a_million_chunks_of_a_byte_hold_nobody_up(connect):
    chunks = b"1\r\na\r\n" * 1_000_000
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = connect(head)
    sending = threading.Thread(target=client.sendall, args=(chunks + b"0\r\n\r\n",))
    sending.start()
    slowest = 0.0
    while sending.is_alive():
        started = time.monotonic()
        assert is_served(connect)
        slowest = max(slowest, time.monotonic() - started)
    sending.join()
    assert one_answer(client)[1] == b"echo 1000000"
    client.close()
    assert slowest < 2


def test_a_body_that_nobody_reads_is_drained_for_a_while_only(connect, monkeypatch):
    monkeypatch.setattr("service.http.connection._LINGER_S", 0.3)
    client = connect(POST % (b"deaf", 10**9), b"a" * 1000)
    assert one_answer(client)[1] == b"deaf 0"
    with pytest.raises(OSError), client:
        for _ in range(100):
            client.sendall(b"a" * 1000)
            time.sleep(0.05)


def test_after_an_unread_body_the_connection_goes_on(connect):
    with connect(POST % (b"deaf", 5), b"ab") as client:
        assert one_answer(client)[1] == b"deaf 0"
        client.sendall(b"cde" + REQUEST % b"echo")
        assert one_answer(client)[1] == b"echo 0"


def test_a_client_that_takes_no_answer_is_cut(connect, cut, eventually):
    client = connect(REQUEST % b"big")
    eventually(lambda: cut("slow-reader"), "the cut")
    assert len(everything(client)) < 20_000_000


def test_a_client_that_takes_it_slowly_gets_it(connect, cut):
    with connect(REQUEST % b"big") as client:
        client.settimeout(10)
        received = 0
        while received < 20_000_000:
            received += len(client.recv(2**21))
            time.sleep(0.01)
    assert cut("slow-reader") == 0


def test_a_full_house_lets_go_of_who_waits_longest(connect, cut):
    idle = connect(REQUEST % b"echo")
    assert one_answer(idle)[1] == b"echo 0"
    others = [connect(REQUEST % b"echo") for _ in range(LIMITS.max_connections - 1)]
    for other in others:
        one_answer(other)
    assert is_served(connect)
    assert cut("too-many-connections") == 1
    assert everything(idle) == b""
    for other in others:
        other.close()


def test_a_house_full_of_work_refuses(serve, cut):
    with serve(LIMITS.model_copy(update={"max_connections": 2})) as connect:
        busy = [connect(POST % (b"echo", 2), b"a") for _ in range(2)]
        time.sleep(0.1)
        refused = everything(connect(REQUEST % b"echo"))
        refusal(refused, 503, "too-many-connections")
        assert b"Retry-After: 1" in refused
        for client in busy:
            client.sendall(b"b")
            assert one_answer(client)[1] == b"echo 2"
            client.close()


def test_leaving_finishes_what_has_begun(connect):
    begun = [
        connect(b"GET /echo HTTP/1.1\r\n"),
        connect(POST % (b"echo", 2), b"a"),
        connect(),
    ]
    idle = connect(REQUEST % b"echo")
    one_answer(idle)
    time.sleep(0.1)
    connect.server.should_exit = True
    assert everything(idle) == b""
    for client, remainder in zip(begun, (b"Host: x\r\n\r\n", b"b", REQUEST % b"echo"), strict=True):
        client.sendall(remainder)
        head, body = one_answer(client)
        assert body.startswith(b"echo")
        assert b"connection: close" in head.lower()
        client.close()


def test_each_signal_makes_it_leave_faster(serve):
    with serve(grace_s=600) as connect:
        busy = connect(POST % (b"echo", 2), b"a")
        server = connect.server
        server.handle_exit(signal.SIGTERM, None)
        time.sleep(0.3)
        assert is_served(connect)
        server.handle_exit(signal.SIGTERM, None)
        with pytest.raises(OSError):
            while is_served(connect):
                time.sleep(0.05)
        busy.sendall(b"b")
        assert one_answer(busy)[1] == b"echo 2"
        busy.close()
    assert not server.force_exit


def test_a_third_signal_drops_what_is_unfinished(serve):
    with serve(grace_s=600) as connect:
        busy = connect(POST % (b"echo", 2), b"a")
        time.sleep(0.2)
        for _ in range(2):
            connect.server.handle_exit(signal.SIGTERM, None)
        while not connect.server.should_exit:
            time.sleep(0.02)
        connect.server.handle_exit(signal.SIGTERM, None)
        assert connect.server.force_exit
    busy.close()


def test_at_a_terminal_there_is_no_grace(serve):
    with serve(grace_s=600) as connect:
        assert is_served(connect)
        connect.server.handle_exit(signal.SIGINT, None)


def test_the_second_half_of_an_answer_does_not_wait_for_the_clients_ack():
    """Head and body are two writes; with Nagle's algorithm the body would come 40 ms later."""
    accepted = []

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport):
            peer = transport.get_extra_info("socket")
            accepted.append(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def scenario(listener):
        server = await asyncio.get_running_loop().create_server(Accepting, sock=listener)
        async with server:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()

    asyncio.run(scenario(listen(HttpSettings(port=0))))
    assert accepted == [1]

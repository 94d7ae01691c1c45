"""Raw connections over TLS: slow, greedy, silent and rude clients, handshakes without an end."""

import logging
import socket
import ssl
import threading
from contextlib import contextmanager, nullcontext, suppress

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request

from service.http.connection import connection_class
from service.http.server import GracefulServer, server_config
from service.http.tls.certificate import Certificate
from service.settings import HttpSettings
from service.shutdown import Shutdown
from tests.certificates import write_pair
from tests.hostile_framing import FIXED
from tests.service.http.test_connection import (
    LIMITS,
    POST,
    REQUEST,
    application,
    cut,
    everything,
    is_served,
    one_answer,
    refusal,
)

__all__ = ["cut"]  # a fixture


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path)


@pytest.fixture
def serve(metrics, pair):
    @contextmanager
    def start(**limits):
        settings = LIMITS.model_copy(update={**pair.settings, "header_timeout_s": 2, **limits})
        certificate = Certificate(settings, metrics)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            application,
            http=connection_class(settings, metrics, certificate),
            log_config=None,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=20,
        )
        server = GracefulServer(config, Shutdown(), 0.0, certificate)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def raw(*data):
            client = socket.create_connection(listener.getsockname(), timeout=10)
            for piece in data:
                client.sendall(piece)
            return client

        def connect(*data):
            client = trusting(pair).wrap_socket(raw(), server_hostname="localhost")
            for piece in data:
                client.sendall(piece)
            return client

        connect.server, connect.raw, connect.certificate = server, raw, certificate
        connect.end = lambda: (setattr(server, "should_exit", True), thread.join(20))
        try:
            yield connect
        finally:
            connect.end()
            listener.close()
            assert not thread.is_alive()

    return start


@pytest.fixture
def connect(serve):
    with serve() as connect:
        yield connect


def trusting(pair):
    return ssl.create_default_context(cafile=pair.certificate)


def test_a_connection_is_encrypted_and_used_again(connect):
    with connect(POST % (b"echo", 3) + b"abc") as client:
        assert (client.version(), client.selected_alpn_protocol()) == ("TLSv1.3", None)
        assert one_answer(client)[1] == b"echo 3"
        client.sendall(POST % (b"echo", 200_000))
        for _ in range(20):
            client.sendall(bytes(10_000))
        assert one_answer(client)[1] == b"echo 200000"
        client.sendall(REQUEST % b"big")
        assert len(one_answer(client)[1]) == 20_000_000


@pytest.mark.parametrize(
    ("version", "is_allowed"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)],
)
def test_tls_1_2_is_the_oldest(connect, pair, cut, eventually, version, is_allowed):
    context = trusting(pair)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with nullcontext() if is_allowed else pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = version
    with connect.raw() as raw:
        if is_allowed:
            with context.wrap_socket(raw, server_hostname="localhost") as client:
                client.sendall(REQUEST % b"echo")
                assert one_answer(client)[1] == b"echo 0"
            return
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(raw, server_hostname="localhost")
    eventually(lambda: cut("tls-handshake") == 1, "the count")


@pytest.mark.parametrize(
    "data",
    [REQUEST % b"echo", b"\x16\x03\x01\x40\x00", b"\x80\x2e\x01\x03\x01", b"\r\n" * 99, bytes(99)],
    ids=["plain HTTP", "half a handshake", "SSL 2", "lines", "zeros"],
)
def test_what_is_no_tls_is_closed_with_one_line_for_developers(
    connect, cut, eventually, caplog, data
):
    caplog.set_level(logging.DEBUG, "service")
    caplog.clear()
    client = connect.raw(data)
    client.shutdown(socket.SHUT_WR)
    received = everything(client)
    assert b"HTTP" not in received
    eventually(lambda: cut("tls-handshake") == 1, "the count")
    lines = [record for record in caplog.records if record.name.startswith("service")]
    assert [(line.name, line.levelname) for line in lines] == [("service.handshakes", "DEBUG")]
    assert not [record for record in caplog.records if record.exc_info]
    assert is_served(connect)


def test_a_handshake_that_never_ends_is_cut(serve, cut, eventually):
    with serve(header_timeout_s=0.2) as connect:
        silent, begun = connect.raw(), connect.raw(b"\x16\x03\x01\x02\x00\x01")
        assert everything(silent) == everything(begun) == b""
        eventually(lambda: cut("tls-handshake") == 2, "the count")
        assert connect.server.server_state.connections == set()


def test_unfinished_handshakes_give_way_to_others(serve, cut):
    """No more connections are open than may be, and who shakes hands gets in."""
    with serve(header_timeout_s=60) as connect:
        silent = [connect.raw() for _ in range(3 * LIMITS.max_connections)]
        assert is_served(connect)
        assert len(connect.server.server_state.connections) <= LIMITS.max_connections
        assert everything(silent[0]) == b""
        assert cut("tls-handshake") >= 2 * LIMITS.max_connections
        for client in silent:
            client.close()


def test_a_client_that_reads_nothing_is_cut(serve, cut, eventually):
    with serve() as connect:
        client = connect(REQUEST % b"big")
        eventually(lambda: cut("slow-reader") == 1, "the cut")
        with suppress(ssl.SSLError):
            assert len(everything(client)) < 20_000_000
        assert is_served(connect)


def test_headers_that_trickle_and_idle_connections_are_cut(connect, cut):
    refusal(everything(connect(b"GET /echo HTTP/1.1\r\nX-A: ")), 408, "headers-too-slow")
    with connect(REQUEST % b"echo") as idle:
        assert one_answer(idle)[1] == b"echo 0"
        assert idle.recv(1) == b""  # said goodbye: nothing was cut off


@pytest.mark.parametrize(
    ("data", "status", "slug"),
    [
        (b"GET /echo HTTP/1.1\r\nX-A: " + b"a" * 5000, 431, "headers-too-large"),
        (b"HELLO\r\n\r\n", 400, "malformed-request"),
        (POST % (b"echo", 1) + b"aGET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 200, None),
    ],
)
def test_framing_is_checked_as_without_tls(connect, data, status, slug):
    received = everything(connect(data))
    assert received.startswith(b"HTTP/1.1 %d " % status)
    if slug is not None:
        refusal(received, status, slug)
    else:
        assert b"expected one Host header" in received


@pytest.mark.parametrize("name", FIXED)
def test_hostile_requests_are_survived(connect, caplog, name):
    content = FIXED[name]().content
    client = connect()
    with suppress(OSError):
        client.sendall(content)
    with suppress(OSError):
        client.settimeout(0.2)
        client.recv(2**16)
    client.close()
    assert is_served(connect)
    assert not [record for record in caplog.records if record.exc_info]


def test_invalid_records_end_the_connection_alone(connect, caplog):
    client = connect(REQUEST % b"echo")
    assert one_answer(client)[1] == b"echo 0"
    with socket.socket(fileno=client.detach()) as raw:
        raw.settimeout(10)
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        everything(raw)
    assert is_served(connect)
    assert not [record for record in caplog.records if record.exc_info]


def test_the_service_stops_though_clients_hold_connections(serve, pair):
    """An idle client answers no goodbye, and a silent one has not even shaken hands."""
    with serve(keep_alive_s=600, header_timeout_s=600) as connect:
        idle, silent = connect(REQUEST % b"echo"), connect.raw()
        assert one_answer(idle)[1] == b"echo 0"
        connect.end()
        assert idle.recv(1) == silent.recv(1) == b""
        idle.close()
        silent.close()


@pytest.mark.parametrize("limits", [True, False])
def test_a_renewed_certificate_is_used_without_a_restart(
    metrics, pair, tmp_path, limits, monkeypatch, eventually
):
    """With the service's connections and with uvicorn's; open connections go on."""
    monkeypatch.setattr("service.http.server.RECHECK_S", 0.05)
    settings = HttpSettings(**pair.settings, connection_limits=limits)
    certificate = Certificate(settings, metrics)
    app = FastAPI()
    app.state.metrics = metrics
    app.get("/scheme")(scheme)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = server_config(app, settings, certificate)
        server = GracefulServer(config, Shutdown(), 0.0, certificate)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        port = listener.getsockname()[1]
        try:
            with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusting(pair)) as old:
                assert old.get("/scheme").json() == "https"
                write_pair(tmp_path)
                new = trusting(pair)

                def is_renewed():
                    with suppress(httpx.ConnectError):
                        url = f"https://127.0.0.1:{port}/scheme"
                        return httpx.get(url, verify=new).json() == "https"

                eventually(is_renewed, "the renewed certificate")
                assert old.get("/scheme").json() == "https"
        finally:
            server.should_exit = True
            thread.join(20)


async def scheme(request: Request) -> str:
    return request.scope["scheme"]

"""Hostile requests to the complete application: all refused, no failure, others served."""

import asyncio
import gzip
import json
import re
import socket
import time

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from service.access.keys import add_key
from service.app import create_app
from service.http.declaration import Scope
from service.settings import AccessSettings, Settings, VersionSettings

OPEN = {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready", "/docs"}
OPEN_FILES = re.compile(
    r"/openapi\.json|/docs/assets/.*|/console/(sign-in|sign-out|choices|static/.*)"
)
ADMIN = re.compile(r"/models\b.*|/categories/.+|/inspections/purge|/deliveries.*")
DETECT = re.compile(r"/detect|/v2|/2020-11-20/|/categories$")


def routes(app):
    """Every declared (method, path), with its parameters filled in."""
    declared = []
    for context in iter_route_contexts(app.routes):
        methods, path = getattr(context, "methods", None), getattr(context, "path", None)
        if methods and path:
            filled = re.sub(r"\{[^}]*\}", "1", path)
            declared += [(method, filled) for method in methods]
    return sorted(set(declared))


@pytest.fixture(scope="module")
def guarded(weights, tmp_path_factory):
    """The application with keys, one for each scope."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    secrets = {scope: add_key(path, scope, [scope]) for scope in Scope}
    return create_app(
        Settings(
            versions=VersionSettings(weights_dir=weights), access=AccessSettings(api_keys_file=path)
        )
    ), secrets


def statuses(app, requests, headers=None):
    async def scenario():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return {
                (method, path): (await http.request(method, path, headers=headers)).status_code
                for method, path in requests
            }

    return asyncio.run(scenario())


def is_open(path):
    return path in OPEN or OPEN_FILES.fullmatch(path)


def test_no_route_is_open_that_should_not_be(guarded):
    app, _ = guarded
    guarded_routes = [route for route in routes(app) if not is_open(route[1])]
    assert len(guarded_routes) > 15
    answered = statuses(app, guarded_routes)
    for method, path in guarded_routes:
        refused = 403 if path.startswith("/2020-11-20/") else 401  # Amazon's word for both
        assert answered[method, path] == refused, (method, path)


def test_every_route_takes_the_scope_that_it_should(guarded):
    app, secrets = guarded
    guarded_routes = [
        route for route in routes(app) if not is_open(route[1]) and route[1] != "/docs/assets"
    ]
    changing = [
        route
        for route in guarded_routes
        if ADMIN.fullmatch(route[1]) and route[1] != "/categories/1/warm"
    ]
    inspecting = [route for route in guarded_routes if DETECT.match(route[1])]
    detect, admin = (
        {"Authorization": f"Bearer {secrets[scope]}"} for scope in (Scope.DETECT, Scope.ADMIN)
    )
    assert len(changing) > 5
    assert len(inspecting) > 5
    assert set(statuses(app, changing, detect).values()) == {403}
    assert set(statuses(app, inspecting, admin).values()) == {403}


@pytest.fixture
def raw(server):
    host, port = server.url.removeprefix("http://").split(":")

    def send(*pieces: bytes) -> tuple[int, bytes]:
        with socket.create_connection((host, int(port)), timeout=30) as client:
            for piece in pieces:
                try:
                    client.sendall(piece)
                except OSError:
                    break
            received = b""
            while b"\r\n\r\n" not in received:
                received += client.recv(2**16)
            head, _, body = received.partition(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
            while len(body) < length:
                body += client.recv(2**16)
            return int(head.split()[1]), body

    return send


def chunked(method, path, content_type):
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("content_type", ["application/json", "image/png"])
def test_a_chunked_body_over_the_limit_is_refused_on_every_route(server, raw, content_type):
    seen = {}
    piece = b"10000\r\n" + b"[" * 65536 + b"\r\n"
    for method, path in routes(server.app):
        if method in {"POST", "PUT"}:
            status, body = raw(chunked(method, path, content_type), *[piece] * 10, b"0\r\n\r\n")
            # A route may refuse before it has read everything; it must not fail.
            assert status < 500, (method, path, status, body)
            seen[path] = status
    for path in ("/detect", "/detect/batch"):
        assert seen[path] == 413
    assert set(seen.values()) <= {200, 400, 403, 404, 413, 415, 422}  # 403: no token of a page


def test_deep_json_is_refused_and_does_not_recurse(server, raw):
    deep = b"[" * 100_000
    for path in ("/detect", "/categories/bolt/route", "/v2/models/bolt/infer"):
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        status, _ = raw(head.encode() + b"Content-Length: %d\r\n\r\n" % len(deep), deep)
        assert status in {400, 413, 422}, path


def test_ten_thousand_parts_are_refused_quickly(client):
    part = '--x\r\nContent-Disposition: form-data; name="a{}"\r\n\r\n1\r\n'
    content = "".join(part.format(i) for i in range(10_000)) + "--x--\r\n"
    started = time.monotonic()
    response = client.post(
        "/detect",
        content=content.encode()[:490_000],
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert response.status_code in {400, 413, 422}
    assert time.monotonic() - started < 10


def test_a_compressed_image_is_inflated(client, image):
    response = client.post(
        "/detect?category=bolt",
        content=gzip.compress(image()),
        headers={"Content-Encoding": "gzip"},
    )
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/detect?category=bolt", "/v2/models/bolt/infer"])
def test_a_compressed_bomb_is_refused(client, problem, path):
    bomb = gzip.compress(bytes(100_000_000))
    response = client.post(path, content=bomb, headers={"Content-Encoding": "gzip"})
    problem(response, 413, "body-too-large")


def test_a_body_that_does_not_come_is_cut_and_others_are_served(
    server, raw, image, monkeypatch, metrics
):
    monkeypatch.setattr(server.app.state.body_budget, "timeout_s", 0.3)
    head = b"POST /detect?category=bolt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
    status, body = raw(head + b"\x89PNG")
    assert (status, json.loads(body)["type"]) == (408, "urn:mambaad:problem:body-too-slow")
    assert server.metric("mambaad_connections_cut_total", reason="body-too-slow") >= 1
    with server.client() as client:
        assert client.post("/detect?category=bolt", content=image()).status_code == 200


@pytest.mark.parametrize(
    "name", ["../parts", "..%2fparts", "%2e%2e", "%00", "%20", "a" * 5000, "%ff%fe", "part%C3%A9"]
)
def test_names_are_looked_up_and_lead_nowhere(raw, name):
    for request in (
        f"POST /models/{name}/1/load", f"POST /models/parts/{name}/unload",
        f"GET /categories/{name}/threshold", f"POST /detect?category={name}",
        f"GET /v2/models/{name}", f"GET /docs/assets/{name}",
    ):  # fmt: skip
        head = f"{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\n"
        status, body = raw(head.encode() + b"x")
        assert 400 <= status < 500, (request, status)
        assert b"Traceback" not in body
        assert b"/store0/" not in body


def test_clients_that_vanish_within_their_body_leave_nothing_behind(server, eventually, image):
    host, port = server.url.removeprefix("http://").split(":")
    before = len(server.log)  # other tests use the server too
    head = b"POST /detect?category=bolt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(50):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head + b"\x89PNG" * 10)
    eventually(lambda: server.app.state.body_budget.held_bytes == 0, "all bytes given back")
    assert not [record for record in server.log[before:] if record.exc_info]

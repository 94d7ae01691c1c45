"""Routes declare their properties where they are defined, and everything around them obeys."""

import ast
import asyncio
import itertools
import logging
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.routing import Mount, Route

import service
from service.access.gate import takes_key
from service.access.keys import add_key
from service.errors import NoWorkerReady
from service.http.declaration import (
    UNDECLARED,
    Access,
    Scope,
    declaration_of,
    declared_by,
    declares,
    match_of,
)
from service.http.matching import Matching, RouteTable
from service.settings import (
    AccessSettings,
    HttpSettings,
    InspectionSettings,
    Settings,
    VersionSettings,
)
from service.telemetry.logs import FIELDS
from tests.service.line import Line

PACKAGE = Path(service.__file__).parent
NAMES_PATHS = {"cli", "client", "station"}
"""Rooms that call a service from outside, or serve pages of their own."""


class Part(BaseModel):
    """The body of a request to the door below."""

    length_mm: float


def door():
    """A door like one in its own folder; nothing else knows it."""
    router = APIRouter(tags=["measuring"])

    @router.post("/door/measure")
    @declares(inspects=True, scope=Scope.DETECT)
    async def measure(part: Part, fault: str = "") -> dict[str, str]:
        if fault == "ours":
            raise RuntimeError(fault)
        if fault == "unavailable":
            raise NoWorkerReady("no worker is ready")
        return {"decision": "OK"}

    @router.get("/door/{name}")
    @declares(scope=Scope.ADMIN, is_probe=True)
    async def describe(name: str) -> dict[str, str]:
        return {"name": name}

    return router


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def secrets(path):
    return {
        "detect": add_key(path, "line-3", [Scope.DETECT]),
        "admin": add_key(path, "boss", [Scope.ADMIN]),
        "slow": add_key(path, "slow", [Scope.DETECT], 0.001),
    }


@pytest.fixture
def wired(tmp_path, metrics, path, secrets):
    """The service with one more door, wired by one line."""
    line = Line(
        Settings(
            versions=VersionSettings(weights_dir=tmp_path),
            access=AccessSettings(api_keys_file=path),
            inspection=InspectionSettings(fail_safe="STOP", max_image_bytes=1000),
            http=HttpSettings(max_request_bytes=1000),
        ),
        metrics,
    )
    line.app.include_router(door(), dependencies=[Depends(takes_key)])
    return line


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    ("status", "request_parts"),
    [
        (401, {"key": None}),
        (401, {"key": "unknown"}),
        (403, {"key": "admin"}),
        (404, {"path": "/door/measure/"}),
        (404, {"path": "/behind/a/proxy/door/measure"}),
        (413, {"content": bytes(2000)}),
        (415, {"headers": {"Content-Encoding": "br"}}),
        (422, {"content": b"{"}),
        (422, {"content": b'{"width_mm": 3}'}),
        (422, {"content": b"\xff", "headers": {"Content-Type": "multipart/form-data"}}),
        (500, {"path": "/door/measure?fault=ours"}),
        (503, {"path": "/door/measure?fault=unavailable"}),
    ],
)
def test_a_route_of_any_name_that_inspects_is_undecided_when_it_fails(
    wired, secrets, status, request_parts
):
    key = request_parts.get("key", "detect")
    headers = bearer(secrets.get(key, key)) if key else {}
    response = wired.post(
        request_parts.get("path", "/door/measure"),
        content=request_parts.get("content", b'{"length_mm": 3}'),
        headers={"Content-Type": "application/json", **headers, **request_parts.get("headers", {})},
    )
    assert response.status_code == status, response.text
    assert (response.headers["x-decision"], response.headers["x-fail-safe"]) == (
        "UNDECIDED",
        "STOP",
    )
    assert (response.json()["decision"], response.json()["fail_safe"]) == ("UNDECIDED", "STOP")


def test_a_caller_that_asks_too_often_is_undecided(wired, secrets):
    options = {"json": {"length_mm": 3}, "headers": bearer(secrets["slow"])}
    first, second = (wired.post("/door/measure", **options) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.headers["x-decision"] == second.json()["decision"] == "UNDECIDED"


def test_a_service_that_leaves_still_says_undecided(wired, secrets):
    wired.shutdown.begin()
    response = wired.post("/door/measure", json={}, headers=bearer(secrets["detect"]))
    assert (response.status_code, response.headers["connection"]) == (422, "close")
    assert response.headers["x-fail-safe"] == "STOP"


def test_its_other_routes_say_no_decision(wired, secrets):
    for method, key, status in (("GET", "detect", 403), ("DELETE", "admin", 405), ("GET", "", 401)):
        response = wired.run(
            lambda client, method=method, key=key: client.request(
                method, "/door/measure", headers=bearer(secrets.get(key, "x"))
            )
        )
        assert response.status_code == status
        assert "x-decision" not in response.headers
        assert "decision" not in response.json()


def test_a_scope_is_asked_for_before_the_body_is_read(wired, secrets):
    async def scenario(client):
        async def body():
            read.append(1)
            yield b"{"

        return await client.post("/door/measure", content=body(), headers=bearer(secrets["admin"]))

    read = []
    assert wired.run(scenario).status_code == 403
    assert read == []


def test_who_lacks_the_scope_is_counted_under_the_route_and_who_has_no_key_is_not(wired, secrets):
    for key in ("admin", "unknown"):
        wired.post("/door/measure", json={}, headers=bearer(secrets.get(key, key)))
    sample = wired.app.state.metrics.registry.get_sample_value
    for route, code in (("/door/measure", "403"), ("unmatched", "401")):
        assert sample("mambaad_requests_total", {"route": route, "code": code}) == 1


def test_the_log_the_metrics_and_the_document_know_it(wired, secrets, caplog, metrics):
    with caplog.at_level(logging.DEBUG, "service"):
        assert wired.run(
            lambda client: client.get("/door/x", headers=bearer(secrets["admin"]))
        ).is_success
        wired.post("/door/measure", json={"length_mm": 3}, headers=bearer(secrets["detect"]))
    lines = {
        getattr(record, FIELDS)["path"]: record.levelname
        for record in caplog.records
        if hasattr(record, FIELDS)
    }
    assert lines == {"/door/x": "DEBUG", "/door/measure": "INFO"}
    sample = wired.app.state.metrics.registry.get_sample_value
    for route in ("/door/{name}", "/door/measure"):
        assert sample("mambaad_requests_total", {"route": route, "code": "200"}) == 1
    assert wired.app.openapi()["paths"]["/door/measure"]["post"]["security"]


def test_every_route_of_the_service_declares_something(line):
    for route in iter_route_contexts(line.app.routes):
        endpoint = route.app if isinstance(route.original_route, Mount) else route.endpoint
        assert declared_by(endpoint) is not UNDECLARED, route.path


def test_what_inspects_and_what_is_open(line):
    declarations = {
        (route.path, declared_by(route.endpoint))
        for route in iter_route_contexts(line.app.routes)
        if not isinstance(route.original_route, Mount)
    }
    model = "/v2/models/{model}"
    assert {path for path, declared in declarations if declared.inspects} == {
        "/detect",
        "/detect/batch",
        f"{model}/infer",
        f"{model}/versions/{{version}}/infer",
        "/2020-11-20/projects/{project}/models/{version}/detect",
    }
    assert {path for path, declared in declarations if declared.access is not Access.KEYED} == {
        "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready",
        "/docs", "/openapi.json",
        "/console/sign-in", "/console/sign-out", "/console/choices", "/console/static/{name}",
    }  # fmt: skip
    assert {path for path, declared in declarations if declared.is_probe} == {
        "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready",
        f"{model}/ready", f"{model}/versions/{{version}}/ready",
    }  # fmt: skip
    assert {path for path, declared in declarations if not declared.is_counted} == {
        "/console/static/{name}", "/console/live/events",
    }  # fmt: skip
    scopes = defaultdict(set)
    for path, declared in declarations:
        if declared.inspects:
            assert declared.scopes == {Scope.DETECT}, path
        if path.startswith("/inspections"):
            scopes[path] |= declared.scopes
        if path == "/categories/{category}/warm":
            assert declared.scopes == {Scope.DETECT, Scope.ADMIN}
        elif path.startswith(("/models", "/categories/")):
            assert declared.scopes == {Scope.ADMIN}, path
    pages = {path: declared for path, declared in declarations if declared.is_page}
    assert {path for path in pages if path not in {"/", "/console"}} == {
        path for path, _ in declarations if path.startswith("/console/")
    }
    trying = {Scope.DETECT, Scope.REVIEW, Scope.ADMIN}
    for path in ("/console/try", "/console/samples/{category}/{name}"):
        assert pages[path].scopes == trying
    for path in (
        "/console/live",
        "/console/live/events",
        "/console/history",
        "/console/parts/{inspection_id}",
    ):
        assert pages[path].scopes == {Scope.READ}
    one = "/inspections/{inspection_id}"
    assert scopes == {
        "/inspections": {Scope.READ, Scope.DETECT},  # a station records, and need not read
        "/inspections/summary": {Scope.READ},
        "/inspections/purge": {Scope.ADMIN},
        one: {Scope.READ},
        f"{one}/image": {Scope.READ},
        f"{one}/heatmap": {Scope.READ},
        f"{one}/verdict": {Scope.REVIEW},
        f"{one}/hold": {Scope.REVIEW},
    }


def test_only_the_pages_files_are_open(tmp_path, path, secrets, metrics):
    line = Line(
        Settings(
            versions=VersionSettings(weights_dir=tmp_path),
            access=AccessSettings(api_keys_file=path),
        ),
        metrics,
    )
    assets = "/docs/assets/"
    opened = ("/docs", "/openapi.json", assets + "swagger-ui.css", assets + "favicon.png")
    assert [line.get(page).status_code for page in opened] == [200] * len(opened)
    closed = ("/docs/", "/docs/oauth2-redirect", assets + "redoc.standalone.js", assets, "/docsx")
    assert [line.get(page).status_code for page in closed] == [401] * len(closed)
    assert "script-src" in line.get("/docs").headers["content-security-policy"]


def variants(template):
    filled = template.format(
        **dict.fromkeys(
            ("model", "version", "project", "category", "name", "inspection_id", "sink"), "x"
        )
    )
    return (filled, filled + "/", filled + "\n", "/" + filled, filled.upper(), filled + "/x")


def test_a_route_is_found_as_the_router_finds_it(line):
    """Otherwise an ambiguous path could be requested with a key of the wrong scope."""
    templates = {route.path for route in iter_route_contexts(line.app.routes)}
    reached = 0

    async def ask(method, path):
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
        }  # fmt: skip

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        await line.app(scope, receive, lambda _: asyncio.sleep(0))
        return scope

    async def ask_all():
        return [await ask(*target) for target in itertools.product(methods, paths)]

    methods = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS")
    paths = sorted({path for template in templates for path in variants(template)})
    for scope in asyncio.run(ask_all()):
        endpoint = scope.get("endpoint")
        if endpoint is None or scope["path"].startswith("/docs/assets"):
            continue
        reached += 1
        declared = declared_by(endpoint)
        route = match_of(scope).route
        assert route is scope.get("route", route)
        if scope["method"] not in route.methods:
            assert not declaration_of(scope).scopes
            assert declaration_of(scope).access is declared.access
        else:
            assert declaration_of(scope) == declared, scope["path"]
    assert reached > 100


def test_mounted_and_included_routes_are_found_too():
    inner, outer, mounted = APIRouter(prefix="/in"), APIRouter(), FastAPI()
    for owner, name in ((inner, "a"), (mounted, "b")):
        owner.get(f"/{name}/{{x:int}}")(declares(is_probe=True)(lambda: None))
    outer.include_router(inner, prefix="/out")
    app = FastAPI()
    app.include_router(outer, prefix="/far")
    app.mount("/sub", mounted)
    app.router.routes.append(Route("/plain", declares(inspects=True)(SimpleNamespace())))
    table = RouteTable(app.routes)
    declarations = {
        path: table.find("GET", path).declaration
        for path in ("/far/out/in/a/1", "/sub/b/1", "/far/out/in/a/x", "/sub/c", "/in/a/1")
    }
    assert [declared.is_probe for declared in declarations.values()] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert table.find("POST", "/plain").declaration.inspects


def test_what_no_middleware_matched_is_undeclared():
    assert declaration_of({"type": "http"}) is UNDECLARED


def test_a_root_path_is_not_part_of_a_route(line):
    matching = Matching(lambda *_: asyncio.sleep(0), line.app.routes)
    for path, root, inspects in (
        ("/hall/detect", "/hall", True),
        ("/detect", "", True),
        ("/hallway", "/hall", False),
    ):
        scope = {"type": "http", "method": "POST", "path": path, "root_path": root}
        asyncio.run(matching(scope, None, None))
        assert declaration_of(scope).inspects is inspects


def module_of(file):
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


def test_no_module_but_a_routes_own_names_its_path(line):
    paths = defaultdict(set)
    for route in iter_route_contexts(line.app.routes):
        paths[route.path].add(getattr(route.endpoint, "__module__", ""))
    elsewhere = [
        f"{file.relative_to(PACKAGE)}: {text}"
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).parts[0] not in NAMES_PATHS
        for text in texts(file)
        if text != "/" and text in paths and module_of(file) not in paths[text]
    ]
    assert {place.partition(":")[0] for place in elsewhere} <= {"api/docs_page.py"}


def texts(file):
    return {
        node.value
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

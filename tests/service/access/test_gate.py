"""Who may send requests: keys, scopes, rates, other sites' pages; refusing is the default."""

import asyncio
import json
import logging
from functools import partial

import httpx
import pytest
from fastapi import Depends, FastAPI

from service.access import key_ring, keys
from service.access.gate import Gate, takes_key
from service.access.guard import Guard
from service.access.keys import add_key
from service.app import create_app
from service.errors import ServiceError
from service.http.declaration import Access, Scope, declares
from service.http.matching import Matching
from service.http.problems import problem_of, retry_headers
from service.http.request_log import RequestLog, problem_response, request_id_of
from service.settings import AccessSettings, HttpSettings, Settings, VersionSettings

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def secrets(path):
    return {
        "detect": add_key(path, "line-3", [Scope.DETECT]),
        "admin": add_key(path, "boss", [Scope.ADMIN]),
        "read": add_key(path, "office", [Scope.READ]),
        "review": add_key(path, "quality", [Scope.REVIEW]),
        "slow": add_key(path, "slow", [Scope.DETECT], 1),
    }


@pytest.fixture
def ask(metrics):
    """Send a request to a small application behind the gate."""

    def make(host="127.0.0.1", **settings):
        chosen = Settings(http=HttpSettings(host=host), access=AccessSettings(**settings))
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        guard = app.state.guard = Guard(chosen.access, metrics, needs_keys=chosen.needs_keys)

        async def answer():
            return {}

        def route(path, methods=("GET",), **declared):
            endpoint = declares(**declared)(partial(answer))
            app.api_route(path, methods=methods, dependencies=[Depends(takes_key)])(endpoint)

        app.get("/unthought")(answer)
        for probe in ("/livez", "/readyz"):
            app.get(probe)(declares(access=Access.OPEN)(partial(answer)))
        app.get("/metrics")(declares(access=Access.OPEN_FOR_METRICS)(partial(answer)))
        route("/detect", ["GET", "POST"], scope=Scope.DETECT, inspects=True)
        route("/models", ["GET", "POST"], scope=Scope.ADMIN)
        route("/inspections", scope=Scope.READ)
        route("/verdict", scope=Scope.REVIEW)
        route("/warm", scope=(Scope.DETECT, Scope.ADMIN))
        route("/any")
        app.add_exception_handler(ServiceError, answer_error)
        app.add_middleware(Gate, guard=guard, metrics_require_key=chosen.access.metrics_require_key)
        app.add_middleware(RequestLog, metrics=metrics)
        app.add_middleware(Matching, routes=app.routes)

        def get(path, headers=None, method="GET", base_url=LOCAL, client="127.0.0.1"):
            async def scenario():
                transport = httpx.ASGITransport(app, client=(client, 1))
                async with httpx.AsyncClient(transport=transport, base_url=base_url) as http:
                    return await http.request(method, path, headers=headers)

            return asyncio.run(scenario())

        return get

    return make


async def answer_error(request, error):
    problem = problem_of(error, request_id_of(request.scope))
    return problem_response(problem, retry_headers(error))


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def aws(secret):
    credential = f"Credential={secret}/20261123/eu-central-1/lookoutvision/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}


def test_without_a_key_there_is_nothing(ask, path, secrets, problem):
    get = ask(api_keys_file=path)
    for route in ("/detect", "/models", "/unthought", "/nowhere", "/livez/", "/metrics/x"):
        response = get(route)
        problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == 'Bearer realm="mambaad"'


def test_health_and_metrics_are_open(ask, path, secrets):
    get = ask(api_keys_file=path)
    assert {get(route).status_code for route in ("/livez", "/readyz", "/metrics")} == {200}


def test_metrics_may_take_a_key(ask, path, secrets):
    get = ask(api_keys_file=path, metrics_require_key=True)
    assert get("/metrics").status_code == 401
    assert get("/metrics", bearer(secrets["detect"])).status_code == 200
    assert get("/livez").status_code == 200


@pytest.mark.parametrize("send", [bearer, aws, lambda secret: {"X-API-Key": secret}])
def test_a_key_is_good_for_its_scope(ask, path, secrets, send, metrics, problem):
    get = ask(api_keys_file=path)
    assert get("/detect", send(secrets["detect"])).status_code == 200
    assert get("/models", send(secrets["admin"])).status_code == 200
    refused = problem(get("/models", send(secrets["detect"])), 403, "forbidden")
    assert refused["detail"] == "'line-3' has the scope detect, but this needs admin"
    problem(get("/detect", send(secrets["detect"] + "x")), 401, "unauthenticated")
    sample = metrics.registry.get_sample_value
    assert sample("mambaad_unauthorized_total", {"reason": "scope"}) == 1
    assert sample("mambaad_unauthorized_total", {"reason": "unknown"}) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": "Basic bGluZTozCg=="},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/x"},
        {"X-API-Key": ""},
        {"X-API-Key": "k" * 100_000},
        {"Cookie": "key=1"},
    ],
)
def test_what_is_no_key_is_refused(ask, path, secrets, headers, problem):
    problem(ask(api_keys_file=path)("/detect", headers), 401, "unauthenticated")


def test_a_key_that_is_taken_back_is_refused(ask, path, secrets, monkeypatch):
    monkeypatch.setattr(key_ring, "_RECHECK_S", 0.0)
    get = ask(api_keys_file=path)
    assert get("/detect", bearer(secrets["detect"])).status_code == 200
    keys.remove_key(path, "line-3")
    assert get("/detect", bearer(secrets["detect"])).status_code == 401


def test_keys_that_cannot_be_checked_for_long_let_nobody_in(
    ask, path, secrets, monkeypatch, problem
):
    monkeypatch.setattr(key_ring, "_RECHECK_S", 0.0)
    get = ask(api_keys_file=path, keys_grace_s=0)
    path.write_text("{", "utf-8")
    problem(get("/detect", bearer(secrets["detect"])), 503, "keys-unreadable")
    assert get("/livez").status_code == 200


ALLOWED = {
    "detect": {"/detect", "/warm"},
    "read": {"/inspections"},
    "review": {"/inspections", "/verdict"},
    "admin": {"/inspections", "/models", "/warm"},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_each_scope_allows(ask, path, secrets, problem, name):
    get = ask(api_keys_file=path)
    for route in ("/detect", "/models", "/inspections", "/verdict", "/warm"):
        response = get(route, bearer(secrets[name]))
        if route in ALLOWED[name]:
            assert response.status_code == 200, route
        else:
            problem(response, 403, "forbidden")
    assert get("/any", bearer(secrets[name])).status_code == 200
    refused = get("/warm", bearer(secrets["read"])).json()["detail"]
    assert refused == "'office' has the scope read, but this needs admin or detect"


def test_only_what_inspects_counts_as_an_image(ask, path, secrets, problem):
    get = ask(api_keys_file=path)
    assert {get("/warm", bearer(secrets["slow"])).status_code for _ in range(5)} == {200}
    assert get("/detect", bearer(secrets["slow"])).status_code == 200
    problem(get("/detect", bearer(secrets["slow"])), 429, "rate-limited")
    assert get("/warm", bearer(secrets["slow"])).status_code == 200


def test_a_rate_is_kept_per_key(ask, path, secrets, problem, metrics):
    get = ask(api_keys_file=path)
    assert get("/detect", bearer(secrets["slow"])).status_code == 200
    response = get("/detect", bearer(secrets["slow"]))
    problem(response, 429, "rate-limited")
    assert response.headers["retry-after"] == "1"
    assert {get("/detect", bearer(secrets["detect"])).status_code for _ in range(5)} == {200}
    sample = metrics.registry.get_sample_value
    assert sample("mambaad_rate_limited_total", {"key": "slow"}) == 1


def test_a_rate_is_kept_per_address_without_keys(ask, problem):
    get = ask(rate_limit_per_s=2)
    assert [get("/detect").status_code for _ in range(3)] == [200, 200, 429]
    assert get("/detect", client="192.0.2.1").status_code == 200
    assert get("/livez").status_code == 200


def test_loopback_needs_no_key(ask):
    get = ask()
    for base_url in (LOCAL, "http://localhost:8000", "http://[::1]:8000"):
        assert get("/detect", base_url=base_url).status_code == 200
        assert get("/models", base_url=base_url).status_code == 200


def test_elsewhere_nothing_is_served_without_keys(ask, problem):
    problem(ask(host="0.0.0.0")("/detect"), 401, "unauthenticated")


def test_anonymous_may_do_all_where_there_are_no_keys(ask):
    get = ask(host="0.0.0.0", allow_anonymous=True)
    assert get("/models", base_url="http://line-7:8000").status_code == 200


def test_anonymous_may_only_detect_where_there_are_keys(ask, path, secrets, problem):
    get = ask(host="0.0.0.0", allow_anonymous=True, api_keys_file=path)
    assert get("/detect").status_code == 200
    assert get("/detect", aws("AKIDEXAMPLE")).status_code == 200
    assert get("/detect", bearer("old")).status_code == 401
    assert "anonymous@127.0.0.1" in problem(get("/models"), 403, "forbidden")["detail"]
    assert get("/models", bearer(secrets["admin"])).status_code == 200


def test_pages_of_other_sites_may_not_ask_in_a_persons_place(ask, problem):
    get = ask(cors_origins=("https://hall.example",))
    evil = {"Origin": "https://evil.example"}
    problem(get("/models", evil, "POST"), 403, "forbidden")
    problem(get("/models", {"Origin": "null"}, "POST"), 403, "forbidden")
    assert get("/models", {"Origin": "https://hall.example"}, "POST").status_code == 200
    assert get("/models", {"Origin": LOCAL}, "POST").status_code == 200
    for host in ("http://evil.example:8000", "http://127.0.0.1.evil.example"):
        problem(get("/models", base_url=host), 403, "forbidden")
    problem(get("/models", {"Host": "["}), 403, "forbidden")


def test_no_key_is_ever_logged(ask, path, secrets, caplog):
    get = ask(api_keys_file=path)
    with caplog.at_level(logging.DEBUG):
        for send in (bearer, aws, lambda secret: {"X-API-Key": secret}):
            for secret in (*secrets.values(), "mambaad_wrong"):
                get("/unthought", send(secret))
    lines = json.dumps([vars(record) for record in caplog.records], default=str)
    assert "line-3" in lines
    assert "mambaad_" not in lines.replace("mambaad_service", "")


@pytest.fixture(scope="module")
def schema(weights):
    return create_app(Settings(versions=VersionSettings(weights_dir=weights))).openapi()


def test_the_schema_says_that_keys_are_taken(schema):
    assert set(schema["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyHeader"}
    assert schema["paths"]["/detect"]["post"]["security"]


def test_answers_tell_browsers_to_be_careful(client):
    headers = client.get("/categories").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "access-control-allow-origin" not in headers


def test_the_documentation_needs_no_internet(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    assets = [part for part in page.text.split('"') if part.startswith("/docs/assets/")]
    assert len(assets) >= 3
    for asset in assets:
        response = client.get(asset)
        assert response.status_code == 200
        assert len(response.content) > 1000


def test_cors_is_off_by_default(client):
    preflight = {"Origin": "https://hall.example", "Access-Control-Request-Method": "POST"}
    response = client.options("/detect", headers=preflight)
    assert response.status_code in {403, 405}
    assert "access-control-allow-origin" not in response.headers

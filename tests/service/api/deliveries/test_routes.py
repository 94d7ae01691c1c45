"""The door to deliveries: who may ask, what it says, and what an operator can do."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest

from service.access.keys import add_key
from service.app import create_app
from service.http.declaration import Scope
from service.settings import AccessSettings, Settings, VersionSettings
from service.versions.rollout import Rollout
from service.versions.state import Deployment
from tests.service.delivery.conftest import deliver, journal  # noqa: F401
from tests.service.delivery.journals import parts, record
from tests.service.delivery.receiver import SECRET, Receiver


@pytest.fixture
def receiver():
    with Receiver().running() as running:
        yield running


@pytest.fixture
def hook(receiver, tmp_path):
    """Settings of a sink that posts to the receiver."""
    (tmp_path / "secret").write_text(SECRET, "utf-8")
    settings = {"type": "webhook", "url": receiver.url, "secret_file": tmp_path / "secret"}
    return {**settings, "backoff_s": 0.05, "max_backoff_s": 30}


@pytest.fixture
def ask(tmp_path):
    """Ask a service, with a key of a scope; it has the deliveries that the test gives it."""
    keys = tmp_path / "keys.json"
    secrets = {scope: add_key(keys, f"key-{scope}", [scope]) for scope in Scope}
    settings = Settings(
        versions=VersionSettings(weights_dir=tmp_path), access=AccessSettings(api_keys_file=keys)
    )
    app = create_app(settings)
    rollout = Rollout(None, None, Deployment(None), app.state.metrics)
    app.state.service = SimpleNamespace(rollout=rollout)

    def call(method, path, scope=Scope.ADMIN, **request):
        async def send():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://line") as client:
                headers = {"X-API-Key": secrets[scope]}
                return await client.request(method, path, headers=headers, **request)

        return asyncio.run(send())

    call.state = app.state
    return call


def test_a_service_without_sinks_lists_none(ask, problem):
    assert ask("GET", "/deliveries").json() == {"sinks": []}
    detail = problem(ask("POST", "/deliveries/mes/retry"), 404, "unknown-sink")["detail"]
    assert detail == "there is no sink 'mes'; have: none"


def test_the_list_says_what_waits_and_why(
    ask, journal, deliver, receiver, hook, tmp_path, eventually  # noqa: F811
):  # fmt: skip
    receiver.refused_parts, receiver.status_of_refused = {"2"}, 401
    receiver.answer = b"who are you?"
    files = {"type": "folder", "path": tmp_path / "results"}
    ask.state.deliveries = deliver(hook=hook, files=files)
    record(journal, parts(5))
    eventually(lambda: ask("GET", "/deliveries").json()["sinks"][0]["depth"] == 0)
    eventually(lambda: ask("GET", "/deliveries").json()["sinks"][1]["last_error"])
    of_files, of_hook = ask("GET", "/deliveries", Scope.READ).json()["sinks"]
    assert (of_files["sink"], of_files["type"], of_files["breaker"]) == (
        "files",
        "folder",
        "closed",
    )
    assert (of_files["position"], of_files["delivered"], of_files["last_error"]) == (5, 5, None)
    assert (of_hook["breaker"], of_hook["position"], of_hook["depth"]) == ("open", 2, 3)
    assert of_hook["last_error"] == "HTTP 401: who are you?"
    assert of_hook["oldest_age_s"] > 0
    assert of_hook["next_try_s"] > 5


def test_an_operator_has_a_sink_and_its_dead_letters_tried_again(
    ask, journal, deliver, receiver, hook, eventually  # noqa: F811
):  # fmt: skip
    receiver.refused_parts = {"1", "2"}
    ask.state.deliveries = deliver(hook=hook)
    sent = parts(4)
    record(journal, sent)
    eventually(lambda: ask("GET", "/deliveries").json()["sinks"][0]["dead_letters"] == 2)
    letters = ask("GET", "/deliveries/hook/dead-letters", Scope.READ).json()["dead_letters"]
    assert [(letter["number"], letter["reason"]) for letter in letters] == [
        (3, "HTTP 422: {}"),
        (2, "HTTP 422: {}"),
    ]
    assert letters[0]["event_id"] == str(sent[2].inspection_id)
    newest = ask("GET", "/deliveries/hook/dead-letters?limit=1").json()["dead_letters"]
    assert newest == letters[:1]

    receiver.refused_parts = set()
    receiver.status = 503
    record(journal, parts(1))
    eventually(lambda: ask("GET", "/deliveries").json()["sinks"][0]["last_error"] == "HTTP 503: {}")
    receiver.status = 200
    assert ask("POST", "/deliveries/hook/retry").json() == {"dead_letters": 2}
    (change,) = ask.state.service.rollout.audit
    assert (change.action, change.subject, change.who) == ("dead-letters", "hook", "key-admin")
    eventually(lambda: ask("GET", "/deliveries").json()["sinks"][0]["dead_letters"] == 0)
    eventually(lambda: {message["number"] for message in receiver.taken} == {1, 2, 3, 4, 5})


def test_an_operator_replays_a_period(
    ask, journal, deliver, receiver, hook, eventually, problem  # noqa: F811
):  # fmt: skip
    ask.state.deliveries = deliver(hook=hook)
    record(journal, parts(3))
    eventually(lambda: len(receiver.taken) == 3)
    eventually(lambda: ask("GET", "/deliveries").json()["sinks"][0]["depth"] == 0)
    now = datetime.now(UTC)
    period = {"since": (now - timedelta(hours=1)).isoformat(), "until": now.isoformat()}
    answer = ask("POST", "/deliveries/hook/replay", json=period)
    assert answer.json()["through"] == 3
    eventually(lambda: len(receiver.taken) == 6)
    first, again = receiver.taken[:3], receiver.taken[3:]
    assert first == again

    turned = {"since": period["until"], "until": period["since"]}
    problem(ask("POST", "/deliveries/hook/replay", json=turned), 422, "invalid-request")
    local = {name: text.removesuffix("+00:00") for name, text in period.items()}
    problem(ask("POST", "/deliveries/hook/replay", json=local), 422, "invalid-request")
    problem(ask("POST", "/deliveries/hook/replay", json={}), 422, "invalid-request")
    problem(ask("POST", "/deliveries/none/replay", json=period), 404, "unknown-sink")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/deliveries", {Scope.READ, Scope.REVIEW, Scope.ADMIN}),
        ("GET", "/deliveries/hook/dead-letters", {Scope.READ, Scope.REVIEW, Scope.ADMIN}),
        ("POST", "/deliveries/hook/retry", {Scope.ADMIN}),
        ("POST", "/deliveries/hook/replay", {Scope.ADMIN}),
    ],
)
def test_readers_look_and_operators_act(ask, method, path, allowed):
    for scope in Scope:
        refused = ask(method, path, scope).status_code == 403
        assert refused is (scope not in allowed), scope

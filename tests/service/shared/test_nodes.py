"""Two services on one PostgreSQL: one follows the other, and neither waits for it to inspect.

parts/1 decides OK for every bolt, parts/2 NG. The second node's connections pass a proxy, which
accepts and then says nothing while `answers` is clear.
"""

import logging
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from model.checkpoints.key import CheckpointKey
from service.access.keys import new_key
from service.http.declaration import Scope
from service.settings import (
    ArchiveSettings,
    Settings,
    StateSettings,
    VersionSettings,
    WorkerSettings,
)
from service.shared.link import Link
from service.shared.tables import STEPS
from service.shared.transfer import CommandAuthor, Source, import_state
from service.versions.assignment import Assignment
from service.versions.state import State
from tests.service.archive.postgresql import PostgresServer
from tests.service.archive.postgresql import running as postgresql_running
from tests.service.conftest import RunningServer
from tests.service.console.browser import chromium
from tests.service.console.test_browser import look
from tests.service.console.test_pages import sign_in
from tests.service.delivery.proxy import CuttingProxy

ADA = {"who": "Ada", "reason": "new lamp"}
ONE, TWO = {"name": "parts", "version": "1"}, {"name": "parts", "version": "2"}
ROUTE, THRESHOLD = "/categories/bolt/route", "/categories/bolt/threshold"


@dataclass
class Node:
    server: RunningServer
    secrets: dict[str, str]

    def client(self, key: str = "admin") -> httpx.Client:
        client = self.server.client()
        client.headers["authorization"] = f"Bearer {self.secrets[key]}"
        return client

    def route(self, stable: dict[str, str]) -> httpx.Response:
        with self.client() as client:
            return client.post(ROUTE, json={"stable": stable, "keep_previous": True, **ADA})

    def change(self, stable: dict[str, str], eventually: Callable[..., object]) -> None:
        """Route as `route` does, and again if a starved machine was too slow."""
        eventually(lambda: self.route(stable).status_code == 200, "the change")

    def serves(self) -> dict[str, str]:
        with self.client() as client:
            return client.get(ROUTE).json()["stable"]

    def state(self) -> dict[str, object]:
        with self.client() as client:
            return client.get("/readyz").json()["state"]

    def decide(self, content: bytes, key: str = "line") -> httpx.Response:
        with self.client(key) as client:
            return client.post("/detect?category=bolt", content=content)


@dataclass
class Plant:
    """Two nodes, their PostgreSQL, and the switch of the second one's connection."""

    nodes: list[Node]
    database: PostgresServer
    answers: threading.Event
    office: Link


@pytest.fixture(scope="module")
def plant(tmp_path_factory, save, start_server, eventually):
    folder = tmp_path_factory.mktemp("plant")
    for threshold in (10.0, -10.0):
        save(folder / "first", "parts", {"bolt": threshold})
    shutil.copytree(folder / "first", folder / "second")
    pairs = {
        name: new_key(name, [scope])
        for name, scope in {
            "admin": Scope.ADMIN,
            "line": Scope.DETECT,
            "gone": Scope.DETECT,
        }.items()
    }
    secrets = {name: secret for name, (_, secret) in pairs.items()}
    with ExitStack() as stack:
        database = stack.enter_context(postgresql_running())
        url = database.create_database()
        STEPS.migrate(url)
        office = Link(StateSettings(url=url), "office")
        stack.callback(office.close)
        routes = State().with_route("bolt", Assignment(stable=CheckpointKey("parts", "1")))
        source = Source(routes, [key for key, _ in pairs.values()], ())
        import_state(office, source, CommandAuthor("office", "office"))
        answers = threading.Event()
        answers.set()
        proxy = CuttingProxy(database.port, lambda _: "pass" if answers.wait(60) else "drop")
        stack.callback(proxy.close)
        nodes = []
        for name, port in (("first", database.port), ("second", proxy.port)):
            settings = Settings(
                versions=VersionSettings(
                    weights_dir=folder / name, state_dir=folder / f"state-{name}"
                ),
                archive=ArchiveSettings(node=name),
                state=StateSettings(
                    url=url.replace(f":{database.port}/", f":{port}/"), poll_s=0.5, timeout_s=5.0
                ),
                workers=WorkerSettings(threads_per_worker=1, stop_grace_s=2),
            )
            nodes.append(Node(stack.enter_context(start_server(settings)), secrets))
        stack.callback(answers.set)
        for node in nodes:
            with node.server.client() as client:
                eventually(lambda c=client: c.get("/readyz").status_code == 200, "readiness")
        yield Plant(nodes, database, answers, office)


@pytest.fixture
def two(plant, eventually):
    """Both nodes; before and after, both serve parts/1 and have contact."""

    def agree():
        return all(node.serves() == ONE and node.state()["problem"] is None for node in plant.nodes)

    eventually(agree, "agreement before")
    yield plant.nodes
    plant.answers.set()
    plant.nodes[0].change(ONE, eventually)
    eventually(agree, "agreement afterwards")


def test_a_route_that_changes_on_one_node_is_that_of_the_other(two, eventually, image):
    first, second = two
    assert first.decide(image()).json()["results"][0]["decision"] == "OK"
    assert second.decide(image()).json()["results"][0]["decision"] == "OK"
    first.change(TWO, eventually)
    eventually(lambda: second.serves() == TWO, "the route on the second node")
    assert second.decide(image()).json()["results"][0]["decision"] == "NG"
    assert first.state()["version"] == second.state()["version"]
    version = first.state()["version"]
    assert second.server.metric("mambaad_state_version") == version
    assert second.server.metric("mambaad_state_held") == 0
    assert 0 <= second.server.metric("mambaad_state_contact_age_seconds") < 60


def test_a_threshold_and_a_canary_are_those_of_all_nodes(two, eventually, image):
    first, second = two
    with first.client() as client:
        canary = {**TWO, "share": 0.25}
        answer = client.post(ROUTE, json={"stable": ONE, "canary": canary, **ADA})
        assert answer.status_code == 200, answer.text
        body = {"threshold": -10.0, **ADA}
        assert client.put(THRESHOLD, json=body).status_code == 200
    with second.client() as client:
        eventually(lambda: client.get(THRESHOLD).json()["threshold"] == -10.0, "the threshold")
        assert client.get(ROUTE).json()["canary"]["share"] == 0.25
        assert client.get(THRESHOLD).json()["history"][0]["who"] == "Ada"
        assert client.delete(THRESHOLD, params=ADA).status_code == 200
    with first.client() as client:
        eventually(lambda: client.get(THRESHOLD).json()["threshold"] == 10.0, "the calibrated one")


def test_of_changes_at_once_exactly_one_wins_or_they_follow_each_other(two, eventually):
    """With the same version before both, one is 409; else each is made on top of the other."""
    start = threading.Barrier(2)
    before = two[0].state()["version"]

    def change(node, stable):
        start.wait()
        return node.route(stable)

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(change, two, (TWO, TWO)))
    made = [answer for answer in answers if answer.status_code == 200]
    for answer in answers:
        if answer.status_code != 200:
            assert answer.status_code == 409
            assert "has changed the shared state on" in answer.json()["detail"]
    assert made
    eventually(
        lambda: all(node.state()["version"] == before + len(made) for node in two), "agreement"
    )
    assert [node.serves() for node in two] == [TWO, TWO]


def test_a_key_that_is_withdrawn_in_one_console_is_refused_on_the_other_node(
    two, eventually, image
):
    first, second = two
    assert second.decide(image(), "gone").status_code == 200
    with first.server.client() as browser:
        assert sign_in(browser, first.secrets["admin"]).status_code == 303
        page = browser.get("/console/system/keys")
        assert "The keys of all nodes, in the PostgreSQL." in page.text
        token = re.search(r'name="token" value="([^"]+)"', page.text)[1]
        form = {"token": token, "reason": "line 9 is sold"}
        answer = browser.post("/console/system/keys/gone/withdraw", data=form)
        assert answer.status_code == 303, answer.text
        for address in ("/console/system", "/console/models"):
            shown = browser.get(address).text
            assert "Shared state" in shown
            assert "admin · first ·" in shown
    eventually(lambda: second.decide(image(), "gone").status_code == 401, "the refusal")
    assert first.decide(image(), "gone").status_code == 401
    with second.server.client() as browser:
        assert sign_in(browser, second.secrets["admin"]).status_code == 303
        assert "line 9 is sold" in browser.get("/console/system/audit").text


def test_no_inspection_waits_for_a_silent_postgresql(plant, two, eventually, image, monkeypatch):
    """Inspections are answered while a change hangs; only two kinds of threads talk to it."""
    _, second = two
    callers = set()
    limited = Link.limited

    def watched(self, *arguments):
        callers.add(threading.current_thread())
        return limited(self, *arguments)

    monkeypatch.setattr(Link, "limited", watched)
    plant.answers.clear()
    with ThreadPoolExecutor(1) as threads:
        change = threads.submit(second.route, TWO)
        eventually(lambda: len(callers) >= 1, "a call that hangs")
        before_inspecting = set(callers)
        answers = [second.decide(image(seed=number)) for number in range(5)]
        refused = change.result()
    assert [answer.status_code for answer in answers] == [200] * 5
    assert before_inspecting
    kinds = {re.sub(r"[-_ ]\d.*", "", thread.name) for thread in callers}
    assert kinds == {"shared-state", "state-changes"}, "the follower, and the change's own thread"
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:mambaad:problem:shared-state-unavailable"
    assert "nothing was changed, and inspections go on" in refused.json()["detail"]
    eventually(lambda: second.state()["problem"], "the reason in /readyz")
    assert second.server.metric("mambaad_state_changes_refused_total") >= 1
    with second.server.client() as browser:
        assert sign_in(browser, second.secrets["admin"]).status_code == 303
        assert "Refused on this node: nothing was changed." in (
            browser.get("/console/system/audit").text
        )
        assert "This node does not follow the shared state now." in (
            browser.get("/console/models").text
        )
    assert second.serves() == ONE


def test_both_follow_again_after_the_postgresql_was_restarted(plant, two, eventually, image):
    first, second = two
    plant.database.stop()
    try:
        eventually(lambda: all(node.state()["problem"] for node in two), "the loss of contact")
        assert [node.decide(image()).status_code for node in two] == [200, 200]
        refused = first.route(TWO)
        assert refused.status_code == 503
        assert "the PostgreSQL of the shared state" in refused.json()["detail"]
    finally:
        plant.database.start()
    eventually(lambda: all(node.state()["problem"] is None for node in two), "contact")
    assert [node.serves() for node in two] == [ONE, ONE]
    first.change(TWO, eventually)
    eventually(lambda: second.serves() == TWO, "the route on the second node")


def test_a_version_that_a_node_has_not_got_is_not_served_there_until_it_has(
    two, eventually, image, save
):
    first, second = two
    roots = [node.server.settings.versions.weights_dir for node in two]
    path = save(roots[0], "parts", {"bolt": -10.0})
    three = {"name": "parts", "version": path.name}
    first.change(three, eventually)
    eventually(lambda: second.state()["problem"], "the hold")
    state = second.state()
    assert "cannot serve on this node, which goes on with version" in state["problem"]
    assert state["newest"] == state["version"] + 1 == first.state()["version"]
    assert second.server.metric("mambaad_state_held") == 1
    assert second.decide(image()).json()["results"][0]["model"] == ONE
    refused = second.route(ONE)
    assert refused.status_code == 409
    assert "cannot serve by the newest shared state" in refused.json()["detail"]
    shutil.copytree(path, roots[1] / "parts" / path.name)
    with second.client() as client:
        assert client.post(ROUTE, json={"stable": ONE, **ADA}).status_code == 200
    eventually(lambda: first.serves() == ONE, "the route on the first node")


def test_the_pages_say_which_version_serves_and_when_it_is_not_followed(
    plant, two, eventually, tmp_path
):
    with chromium(tmp_path) as browser:
        check_pages(plant, two[1], eventually, browser)


def check_pages(plant, second, eventually, browser):
    url = second.server.url
    browser.open(f"{url}/console/sign-in?next=/console/system")
    browser.one("#key").send_keys(second.secrets["admin"])
    browser.one("#key").submit()
    browser.until(lambda: browser.all("#shared-state"), "the shared state")
    look(browser, "system-shared-state")
    plant.answers.clear()
    eventually(lambda: second.state()["problem"], "the loss of contact")
    for page in ("system", "models"):
        browser.open(f"{url}/console/{page}")
        assert "does not follow the shared state now" in browser.text(".note.bad")
        look(browser, f"{page}-shared-state-away")


def test_no_log_line_has_a_secret_and_none_a_traceback(plant, two):
    lines = [record for node in two for record in node.server.log]
    for record in lines:
        assert record.exc_info is None, record.getMessage()
        assert not any(secret in record.getMessage() for secret in two[0].secrets.values())
    assert any(record.levelno >= logging.WARNING for record in lines)

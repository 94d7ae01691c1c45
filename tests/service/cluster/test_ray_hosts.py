"""Three Ray nodes and three services with one state, on hosts of their own, which fail.

A line of three stations posts all the time. Each begins at another service, and goes on at the next
one under the same inspection id. parts/1 decides OK for every bolt, parts/2 NG. Afterwards the
archives must have what the line was told.
"""

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.key import CheckpointKey
from model.runtimes.torch import open_checkpoint
from service.access.keys import new_key
from service.archive.migrate import migrate as migrate_archive
from service.http.declaration import Scope
from service.settings import StateSettings
from service.shared.link import Link
from service.shared.tables import STEPS
from service.shared.transfer import CommandAuthor, Source, import_state
from service.versions.assignment import Assignment
from service.versions.state import State
from tests.hosts import hosts_on_a_switch
from tests.service.archive.postgresql import running as postgresql_running
from tests.service.cluster.ray_hosts import RayHost
from tests.service.plant import (
    Line,
    Node,
    change_route,
    check,
    served_version,
    shared_settings,
    until,
)

DECISIONS = {"1": "OK", "2": "NG"}
IMAGES = 6
WORKERS = 3


@dataclass
class Plant:
    nodes: list[Node]
    rays: list[RayHost]
    line: Line
    url: str
    admin: str
    expected: list[float]
    """The raw scores of a single machine."""

    def route(self, version: str) -> None:
        """Change the route, and wait until all services serve by it."""
        until(lambda: change_route(self.nodes[0], self.admin, version).status_code == 200, "change")
        for node in self.nodes:
            until(lambda n=node: served_version(n, self.admin) == version, f"version {version}")

    def await_workers(self) -> None:
        """Wait until every service sees a ready worker on each host."""
        hosts = {node.host.name for node in self.nodes}
        for node in self.nodes:
            until(lambda n=node: ready_hosts(n) == hosts, f"workers for {node.host.name}")

    def check(self) -> None:
        check(self.line.answers, self.nodes, self.url, self.expected, DECISIONS)


def readiness(node: Node) -> dict:
    try:
        return dict(httpx.get(f"{node.url}/readyz", timeout=10).json())
    except httpx.TransportError:
        return {"workers": [], "cluster": {"problem": None}, "reasons": []}


def ready_hosts(node: Node) -> set[str]:
    """The hosts of the workers that a service can use now."""
    answer = readiness(node)
    if answer["cluster"]["problem"]:
        return set()
    return {worker["node"] for worker in answer["workers"] if worker["state"] == "ready"}


@pytest.fixture(scope="module")
def plant(tmp_path_factory, save, image):
    folder = tmp_path_factory.mktemp("plant")
    weights = folder / "weights"
    for threshold in (10.0, -10.0):
        save(weights, "parts", {"bolt": threshold})
    images = [image(seed=number) for number in range(IMAGES)]
    detector = open_checkpoint(CheckpointStore(weights).load("parts", "1"))
    expected = [
        detector.inspect_images([Image.open(BytesIO(content))], "bolt")[0].raw_score
        for content in images
    ]
    admin_key, admin = new_key("admin", [Scope.ADMIN])
    line_key, secret = new_key("line", [Scope.DETECT])
    with ExitStack() as stack:
        on_line, database, *hosts = stack.enter_context(
            hosts_on_a_switch("line", "database", "first", "second", "third")
        )
        with database.entered():
            server = stack.enter_context(postgresql_running(database.address))
            url = server.create_database()
            STEPS.migrate(url)
            migrate_archive(url)
            office = Link(StateSettings(url=url), "office")
            routes = State().with_route("bolt", Assignment(stable=CheckpointKey("parts", "1")))
            author = CommandAuthor("office", "office")
            import_state(office, Source(routes, [admin_key, line_key], ()), author)
            office.close()
        rays, nodes = [], []
        for host in hosts:
            host.add_default_route()
            short = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path, because it has sockets
            stack.callback(shutil.rmtree, short)
            ray = RayHost(host, hosts[0], short)
            stack.callback(ray.switch_off)
            # The second service finds its Ray node itself.
            address = "auto" if host.name == "second" else ray.address
            settings = shared_settings(url) | {
                "cluster__address": address,
                "cluster__min_workers": WORKERS,
                "cluster__max_workers": WORKERS,
                "cluster__silence_s": 8,
            }
            rays.append(ray)
            nodes.append(Node(host, folder, weights, ray.variables, **settings))
        for ray in rays:
            ray.start()
        for node in nodes:
            stack.callback(node.close)
        with ThreadPoolExecutor(len(nodes)) as threads:
            list(threads.map(Node.start, nodes))
        line = Line(on_line, secret, [node.url for node in nodes], images)
        yield Plant(nodes, rays, line, url, admin, expected)


@pytest.fixture(autouse=True)
def on_the_line(plant):
    """Each test runs on the line's host; before it, all workers are ready and serve parts/1."""
    with plant.line.host.entered():
        plant.await_workers()
        plant.route("1")
        yield
        for node in plant.nodes:
            node.host.plug_the_cable()


def test_a_host_that_loses_its_power_loses_no_part(plant):
    with plant.line.posting():
        plant.line.go_on()
        plant.rays[2].switch_off()
        plant.nodes[2].close()
        plant.line.go_on()
        plant.rays[2].start()
        plant.nodes[2].start()
        plant.await_workers()
        plant.line.go_on()
    plant.check()


def test_a_node_whose_ray_is_restarted_finishes_what_it_took(plant):
    failures = len(plant.line.failures)
    with plant.line.posting():
        plant.line.go_on()
        plant.rays[1].restart()
        until(lambda: len(ready_hosts(plant.nodes[0])) < WORKERS, "leave")
        plant.await_workers()
        plant.line.go_on()
    plant.check()
    print(plant.line.failures[failures:])


def test_services_find_a_restarted_head(plant):
    _, second, third = plant.nodes
    with plant.line.posting():
        plant.line.go_on()
        plant.rays[0].switch_off()
        plant.nodes[0].close()
        for node in (second, third):
            until(lambda n=node: readiness(n)["cluster"]["problem"], "a problem in /readyz")
        plant.rays[0].start()
        plant.nodes[0].start()
        plant.await_workers()
        plant.line.go_on()
    for node in (second, third):
        assert any("next start in" in line for line in node.live.log)
    plant.check()


@pytest.mark.long
def test_a_host_that_is_cut_off_and_healed_comes_back(plant):
    with plant.line.posting():
        plant.line.go_on()
        plant.nodes[1].host.pull_the_cable()
        until(lambda: "second" not in ready_hosts(plant.nodes[0]), "loss")
        plant.line.go_on()
        plant.nodes[1].host.plug_the_cable()
        plant.await_workers()
        plant.route("2")
        changed = time.monotonic()
        plant.line.go_on()
    late = {answer.version for answer in plant.line.answers if answer.posted_at > changed}
    assert late == {"2"}
    plant.check()


@pytest.mark.long
def test_a_slow_host_changes_no_answer(plant):
    third = plant.nodes[2].host
    third.slow_down("1mbit")
    try:
        with plant.line.posting():
            plant.line.go_on()
            plant.route("2")
            changed = time.monotonic()
            plant.line.go_on()
    finally:
        third.speed_up()
    late = {answer.version for answer in plant.line.answers if answer.posted_at > changed}
    assert late == {"2"}
    plant.check()

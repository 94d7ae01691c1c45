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
from pathlib import Path

import httpx
import pytest

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
from tests.service.site import DECISIONS, open_site

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
        line = self.line
        check(line.answers, self.nodes, self.url, self.expected, DECISIONS, line.undecided)


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
    with ExitStack() as stack:
        site = stack.enter_context(open_site(tmp_path_factory.mktemp("plant"), save, image))
        rays, nodes = [], []
        for host in site.hosts:
            host.add_default_route()
            short = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path, because it has sockets
            stack.callback(shutil.rmtree, short)
            ray = RayHost(host, site.hosts[0], short)
            stack.callback(ray.switch_off)
            # The second service finds its Ray node itself.
            address = "auto" if host.name == "second" else ray.address
            settings = shared_settings(site.url) | {
                "cluster__address": address,
                "cluster__min_workers": WORKERS,
                "cluster__max_workers": WORKERS,
                "cluster__silence_s": 8,
            }
            rays.append(ray)
            nodes.append(Node(host, site.folder, site.weights, ray.variables, **settings))
        for ray in rays:
            ray.start()
        for node in nodes:
            stack.callback(node.close)
        with ThreadPoolExecutor(len(nodes)) as threads:
            list(threads.map(Node.start, nodes))
        yield Plant(nodes, rays, site.line_to(nodes), site.url, site.admin, site.expected)


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
    with plant.line.posting():
        plant.line.go_on()
        plant.rays[1].restart()
        until(lambda: len(ready_hosts(plant.nodes[0])) < WORKERS, "leave")
        plant.await_workers()
        plant.line.go_on()
    plant.check()


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

"""Three nodes with one state, on hosts of their own: one is lost, cut off, slow, or all are alone.

A line of three stations posts all the time. Each begins at another node, and goes on at the next
one under the same inspection id. parts/1 decides OK for every bolt, parts/2 NG. Afterwards the
archives must have what the line was told.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from service.client import Client
from tests.hosts import Host
from tests.service.delivery.proxy import CuttingProxy
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


@dataclass
class Plant:
    nodes: list[Node]
    line: Line
    database: Host
    url: str
    admin: str
    expected: list[float]
    """The raw scores of a single machine."""

    def route(self, node: Node, version: str) -> None:
        """Change the route, and wait until all nodes serve by it."""
        until(lambda: change_route(node, self.admin, version).status_code == 200, "the change")
        self.await_route(version)

    def await_route(self, version: str) -> None:
        for node in self.nodes:
            until(lambda n=node: served_version(n, self.admin) == version, f"version {version}")

    def check(self) -> None:
        assert not self.line.undecided
        check(self.line.answers, self.nodes, self.url, self.expected, DECISIONS)


@pytest.fixture(scope="module")
def plant(tmp_path_factory, save, image):
    with ExitStack() as stack:
        site = stack.enter_context(open_site(tmp_path_factory.mktemp("plant"), save, image))
        settings = shared_settings(site.url)
        nodes = [Node(host, site.folder, site.weights, **settings) for host in site.hosts]
        for node in nodes:
            stack.callback(node.close)
        with ThreadPoolExecutor(len(nodes)) as threads:
            list(threads.map(Node.start, nodes))
        line = site.line_to(nodes)
        yield Plant(nodes, line, site.database, site.url, site.admin, site.expected)


@pytest.fixture(autouse=True)
def on_the_line(plant):
    """Each test runs on the line's host; before it, all nodes serve parts/1."""
    with plant.line.host.entered():
        plant.route(plant.nodes[0], "1")
        yield
        for host in (plant.database, *(node.host for node in plant.nodes)):
            host.plug_the_cable()


def test_a_node_that_loses_its_power_loses_no_part(plant):
    first = plant.nodes[0]
    with plant.line.posting():
        plant.line.go_on()
        first.lose_power()
        plant.line.go_on()
        first.start()
        plant.line.go_on()
    plant.await_route("1")
    plant.check()


def test_a_node_that_is_cut_off_judges_by_its_last_state_until_it_is_healed(plant):
    first, second, _ = plant.nodes
    line = plant.line
    with line.posting():
        line.go_on()
        second.host.pull_the_cable()
        line.go_on()
        until(lambda: change_route(first, plant.admin, "2").status_code == 200, "the change")
        for node in (first, plant.nodes[2]):
            until(lambda n=node: served_version(n, plant.admin) == "2", "version 2")
        changed = time.monotonic()
        line.go_on()
        with second.host.entered():  # a station beside it goes on
            with Client(second.url, api_key=line.key) as client:
                (alone,) = client.detect(line.images[0], category="bolt")
            assert (alone.model.version, alone.decision) == ("1", "OK")
            refused = change_route(second, plant.admin, "2")
            assert refused.status_code == 503, refused.text
            assert refused.json()["type"] == "urn:mambaad:problem:shared-state-unavailable"
        by_two = list(line.answers)
        second.host.plug_the_cable()
        plant.await_route("2")
        healed = time.monotonic()
        line.go_on()
    late = [answer for answer in by_two if answer.posted_at > changed]
    late += [answer for answer in line.answers if answer.posted_at > healed]
    assert {answer.version for answer in late} == {"2"}
    plant.check()


def test_a_slow_node_and_a_long_way_change_no_answer(plant):
    first, second, third = plant.nodes
    delayed = CuttingProxy(8000, lambda _: time.sleep(0.1) or "pass", first.host.address)
    try:
        third.host.slow_down("400kbit")
        with plant.line.posting([f"http://127.0.0.1:{delayed.port}", second.url, third.url]):
            plant.line.go_on()
            plant.route(second, "2")
            changed = time.monotonic()
            plant.line.go_on()
    finally:
        third.host.speed_up()
        delayed.close()
    late = {answer.version for answer in plant.line.answers if answer.posted_at > changed}
    assert late == {"2"}
    plant.check()


def test_without_the_postgresql_all_nodes_go_on_and_refuse_changes(plant):
    line = plant.line
    with line.posting():
        line.go_on()
        plant.database.pull_the_cable()
        refused = [change_route(node, plant.admin, "2") for node in plant.nodes]
        line.go_on()
        plant.database.plug_the_cable()
        assert {answer.status_code for answer in refused} == {503}
        for answer in refused:
            assert "nothing was changed, and inspections go on" in answer.json()["detail"]
        plant.route(plant.nodes[2], "2")
        changed = time.monotonic()
        line.go_on()
    assert {answer.version for answer in line.answers if answer.posted_at > changed} == {"2"}
    plant.check()

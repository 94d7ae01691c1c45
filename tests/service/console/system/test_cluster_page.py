"""The page System and GET /models for a cluster, whose workers' reports are played."""

import asyncio
import dataclasses

import pytest
from prometheus_client import CollectorRegistry

from service.cluster.messages import Roster
from service.cluster.pool import ClusterPool
from service.settings import ClusterSettings, Settings
from service.telemetry.metrics import Metrics
from tests.service.cluster.test_choice import KEY, report
from tests.service.console.system.test_browser import sign_in
from tests.service.console.test_browser import look

SETTINGS = Settings(cluster=ClusterSettings(address="auto", min_workers=2, replicas={KEY.name: 2}))


async def played() -> ClusterPool:
    """Return workers on two machines, of which one has loaded the checkpoint."""
    pool = ClusterPool(
        SETTINGS, lambda: (KEY,), Metrics(CollectorRegistry()), lambda name, refused: None
    )
    pool._take_news(Roster(("cpu/0", "cpu/1"), {"node": "press-1"}))
    pool._take_news(report("cpu/0", KEY))
    other = report("cpu/1")
    elsewhere = dataclasses.replace(other.report, node_id="0123456789abcdef")
    pool._take_news(dataclasses.replace(other, report=elsewhere))
    return pool


@pytest.fixture
def clustered(system):
    state = system.server.app.state
    before = state.service
    state.service = dataclasses.replace(before, workers=asyncio.run(played()))
    yield system
    state.service = before


def test_the_page_shows_each_workers_machine_and_the_replicas(clustered):
    with clustered.client() as client:
        text = client.get("/console/system/workers").text
    assert "<dd>press-1</dd>" in text
    assert "<dd>01234567</dd>" in text  # a machine without a service has Ray's number alone
    assert "1 of at least 2" in text
    assert '<span class="hint">cpu/0</span>' in text


def test_models_has_the_wanted_number_of_workers(clustered):
    headers = {"Authorization": f"Bearer {clustered.secrets['engineer']}"}
    with clustered.server.client() as client:
        models = client.get("/models", headers=headers).json()["models"]
    replicas = {(model["name"], model["version"]): model["replicas"] for model in models}
    assert replicas.pop(("parts", "1")) == 2
    assert set(replicas.values()) == {None}


def test_without_a_cluster_there_are_no_replicas(system):
    with system.client() as client:
        assert "of at least" not in client.get("/console/system/workers").text


def test_a_browser_shows_machines_and_replicas(browser, clustered):
    sign_in(browser, clustered)
    browser.until(lambda: "press-1" in browser.text("#workers"), "the first machine")
    assert "01234567" in browser.text("#workers")
    assert "1 of at least 2" in browser.text("#workers")
    look(browser, "system-cluster")

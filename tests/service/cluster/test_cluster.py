"""Services share the workers of two Ray nodes; workers, bridges and actors fail, no job is lost."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import Decision
from service.errors import QueueFull, ServiceError, WorkerLost
from service.settings import (
    ClusterSettings,
    Settings,
    TelemetrySettings,
    VersionSettings,
    WorkerSettings,
)
from service.telemetry.metrics import Metrics
from service.versions.registry import Registry
from service.workers.jobs import Job
from service.workers.pipe.messages import Finding
from service.workers.pool import WorkerPool
from tests.service.cluster.services import (
    Node,
    answers_of,
    job_of,
    processes_below,
    suspended,
    until,
)

PARTS, OTHERS = CheckpointKey("parts", "1"), CheckpointKey("others", "1")
QUEUE = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory, save) -> Path:
    root = tmp_path_factory.mktemp("cluster") / "weights"
    save(root, "parts", {"bolt": 10.0, "nut": -10.0})
    save(root, "others", {"cog": 10.0})
    return root


@pytest.fixture(scope="module")
def settings(ray_nodes, store) -> Settings:
    return Settings(
        versions=VersionSettings(weights_dir=store),
        workers=WorkerSettings(
            threads_per_worker=1,
            max_queue_size=QUEUE,
            max_batch_size=4,
            heartbeat_timeout_ms=600_000,
            min_batch_timeout_ms=600_000,
            batch_timeout_ms=600_000,
            restart_backoff_s=0.1,
        ),
        cluster=ClusterSettings(
            address=ray_nodes.address, min_workers=2, max_workers=2, silence_s=120, linger_s=1
        ),
    )


class Plant:
    """Two services, which go on from test to test on one event loop."""

    def __init__(self, settings: Settings, runner: asyncio.Runner) -> None:
        self.settings = settings
        self.run = runner.run
        self.first = self.second = self.run(self._started())
        self.second = self.run(self._started())

    async def _started(self) -> Node:
        node = Node(self.settings)
        await node.pool.__aenter__()
        await node.all_ready()
        return node

    async def settle(self) -> None:
        """Wait until both see both workers ready and idle."""
        for node in (self.first, self.second):
            await node.all_ready()
            await until(lambda: not sum(view.total for view in node.views), "rest")  # noqa: B023

    async def received(self, count: int) -> None:
        """Wait until the actors have so many jobs of the first service."""
        await until(lambda: sum(view.total for view in self.second.views) == count, "jobs")


@pytest.fixture(scope="module")
def started(settings) -> Iterator[Plant]:
    with asyncio.Runner() as runner:
        plant = Plant(settings, runner)
        yield plant
        for node in (plant.first, plant.second):
            runner.run(node.pool.__aexit__())


@pytest.fixture
def plant(started) -> Plant:
    started.run(started.settle())
    return started


def test_results_equal_those_of_one_machine(plant):
    async def local() -> list[Finding]:
        settings = plant.settings
        registry = Registry(Store(settings.versions.weights_dir), Metrics(CollectorRegistry()))
        pool = WorkerPool(
            settings.workers,
            registry.checkpoints,
            Metrics(CollectorRegistry()),
            registry.report,
            weights_dir=settings.versions.weights_dir,
            logs=TelemetrySettings(),
        )
        async with pool:
            await until(lambda: not pool.unready(), "readiness")
            jobs = [
                job_of(registry, seed, category)
                for seed in range(3)
                for category in ("bolt", "nut")
            ]
            for job in jobs:
                pool.submit(job)
            return await asyncio.gather(*(job.future for job in jobs))

    async def shared() -> list[Finding]:
        node = plant.first
        jobs = [node.job(seed, category) for seed in range(3) for category in ("bolt", "nut")]
        for job in jobs:
            node.pool.submit(job)
        findings = await asyncio.gather(*(job.future for job in jobs))
        assert all(job.queue_ms >= 0 for job in jobs)
        assert {view.node for view in node.views} != {""}
        assert len({view.report.node_id for view in node.views}) == 2
        return findings

    expected, actual = plant.run(local()), plant.run(shared())
    assert [finding.decision for finding in actual] == [Decision.OK, Decision.NG] * 3
    for one, other in zip(expected, actual, strict=True):
        assert other.raw_score == pytest.approx(one.raw_score, abs=1e-5)
        assert other.decision == one.decision
        np.testing.assert_allclose(other.pixel_scores, one.pixel_scores, atol=1e-5)


def test_two_services_share_each_workers_queue(plant):
    async def scenario() -> None:
        first, second = plant.first, plant.second
        with suspended(*first.views):
            jobs = first.submit(4) + second.submit(4, first=4)
            for node in (first, second):
                await until(lambda: sum(view.total for view in node.views) == 8, "counts")  # noqa: B023
        findings = await answers_of(jobs)
        assert all(isinstance(finding, Finding) for finding in findings)
        assert len({finding.raw_score for finding in findings}) == 8

    plant.run(scenario())


def test_a_full_cluster_refuses_at_once_and_answers_what_it_took(plant):
    async def scenario() -> None:
        node = plant.first
        jobs: list[Job] = []
        with suspended(*node.views):
            with pytest.raises(QueueFull):
                while len(jobs) < 100:
                    jobs += node.submit(1, first=len(jobs))
            assert len(jobs) >= QUEUE
        answers = await answers_of(jobs)
        inspected = [one for one in answers if isinstance(one, Finding)]
        assert len(inspected) >= QUEUE
        assert all(isinstance(one, Finding | QueueFull) for one in answers)

    plant.run(scenario())


def test_a_killed_actors_jobs_are_computed_once_more_elsewhere(plant):
    async def scenario() -> None:
        node = plant.first
        with suspended(*node.views):
            jobs = node.submit(10)
            victim = max(node.views, key=lambda view: len(view.jobs))
            before = victim.report.incarnation
            await plant.received(10)
            os.kill(victim.report.pid, signal.SIGKILL)
        answers = await answers_of(jobs)
        assert [type(answer) for answer in answers] == [Finding] * 10
        assert len({answer.raw_score for answer in answers}) == 10
        await until(lambda: victim.is_ready and victim.report.incarnation != before, "a new actor")
        assert victim.residents.keys() == {PARTS, OTHERS}

    plant.run(scenario())


def test_a_killed_process_costs_its_batch_alone(plant):
    async def scenario() -> None:
        node = plant.first
        with suspended(*node.views):
            jobs = node.submit(8)
            await plant.received(8)
            for view in node.views:
                for process in processes_below(view):
                    process.kill()
        answers = await answers_of(jobs)
        lost = [answer for answer in answers if isinstance(answer, WorkerLost)]
        assert 1 <= len(lost) < 8
        assert all(isinstance(one, Finding | WorkerLost) for one in answers)
        await node.all_ready()

    plant.run(scenario())


def test_a_cancelled_job_leaves_its_worker(plant):
    async def scenario() -> None:
        node, watching = plant.first, plant.second
        with suspended(*node.views):
            jobs = node.submit(6)
            await plant.received(6)
            for job in jobs:
                job.future.cancel()
            await until(lambda: sum(view.total for view in watching.views) == 0, "no counts")
        assert all(job.future.cancelled() for job in jobs)

    plant.run(scenario())


def test_a_checkpoint_is_loaded_and_unloaded_on_every_node(plant):
    async def scenario() -> None:
        first, second = plant.first, plant.second
        await until(lambda: second.pool.holds(OTHERS), "residence")
        await first.pool.unload(OTHERS)
        await until(
            lambda: not any(OTHERS in view.residents for view in second.views), "the unload"
        )
        assert set(await second.pool.load(OTHERS)) == {view.name for view in second.views}
        await until(lambda: first.pool.holds(OTHERS), "the load")
        with pytest.raises(ServiceError, match="nothing"):
            await first.pool.load(CheckpointKey("nothing", "1"))
        assert first.pool.holds(PARTS)

    plant.run(scenario())


def test_without_its_bridge_a_service_answers_no_job_and_recovers(plant):
    async def scenario() -> None:
        node = plant.first
        with suspended(*node.views):
            jobs = node.submit(4)
            await plant.received(4)
            os.kill(node.pool._bridge.pid, signal.SIGKILL)
            answers = await answers_of(jobs)
            assert all(isinstance(answer, ServiceError) for answer in answers)
            assert node.pool.unready()
        await node.all_ready()
        assert node.pool.unready() == []
        (finding,) = await answers_of(node.submit(1))
        assert isinstance(finding, Finding)

    plant.run(scenario())


def test_each_nodes_page_has_the_metrics_of_its_workers(plant):
    async def scenario() -> None:
        node = plant.first
        await until(lambda: any(view.measures for view in node.views), "measures")
        local = [view for view in node.views if view.measures]
        assert len(local) == 1  # the other worker is on the other node
        page = {
            (sample.name, sample.labels.get("worker")): sample.value
            for family in node.metrics.registry.collect()
            for sample in family.samples
        }
        assert page["mambaad_worker_up", local[0].name] == 1
        assert page["mambaad_queue_capacity", local[0].name] == QUEUE
        assert ("mambaad_batch_size_count", local[0].name) in page
        workers = {worker for _, worker in page if worker}
        assert workers == {view.name for view in local}
        (family,) = node.metrics.compute_seconds.collect()
        assert family.name == "mambaad_compute_seconds"

    plant.run(scenario())

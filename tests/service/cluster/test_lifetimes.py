"""Actors that fall silent, leave a drained node, or are needed no more: none is left behind."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from service.settings import ClusterSettings, Settings, VersionSettings, WorkerSettings
from service.workers.pipe.messages import Finding
from tests.service.cluster.services import (
    TIMEOUT_S,
    Node,
    answers_of,
    processes_below,
    suspended,
    until,
)
from tests.service.live import Live, serving

SILENCE_S = 3.0
"""A stuck actor is replaced after six times as long."""


@pytest.fixture(scope="module")
def store(tmp_path_factory, save) -> Path:
    root = tmp_path_factory.mktemp("lifetimes") / "weights"
    save(root, "parts", {"bolt": 10.0})
    return root


@pytest.fixture(scope="module")
def settings_for(ray_nodes, store):
    def make(**cluster: object) -> Settings:
        return Settings(
            versions=VersionSettings(weights_dir=store),
            workers=WorkerSettings(
                threads_per_worker=1,
                max_batch_size=4,
                heartbeat_timeout_ms=600_000,
                min_batch_timeout_ms=600_000,
                batch_timeout_ms=600_000,
            ),
            cluster=ClusterSettings(address=ray_nodes.address, **{"linger_s": 1} | cluster),
        )

    return make


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def actors(nodes, *names: str) -> list[psutil.Process]:
    """The processes of actors of these classes."""
    found = []
    for raylet in nodes.processes():
        try:
            for process in raylet.children():
                if any(f"ray::{name}" in " ".join(process.cmdline()) for name in names):
                    found.append(process)
        except psutil.Error:
            continue
    return found


def waiting(live: Live) -> int:
    with live.client() as client:
        return sum(worker["waiting"] for worker in client.get("/readyz").json()["workers"])


def is_up(nodes, node_id: str) -> bool:
    return any(node_id in " ".join(process.cmdline()) for process in nodes.processes())


def test_a_silent_actor_loses_its_jobs_to_another_and_is_replaced(ray_nodes, settings_for, runner):
    async def scenario() -> None:
        node = Node(settings_for(min_workers=2, max_workers=2, silence_s=SILENCE_S))
        async with node.pool:
            await node.all_ready()
            with suspended(*node.views):
                jobs = node.submit(6)
                victim = max(node.views, key=lambda view: len(view.jobs))
                before = victim.report
                process = psutil.Process(before.pid)
                below = processes_below(victim)
                os.kill(before.pid, signal.SIGSTOP)
                await until(lambda: not victim.is_ready, "silence")
                assert "silent" in victim.status.reason
            answers = await answers_of(jobs)
            assert [type(answer) for answer in answers] == [Finding] * 6
            await until(
                lambda: victim.is_ready and victim.report.incarnation != before.incarnation,
                "another actor",
            )
            await until(lambda: not any(p.is_running() for p in (process, *below)), "its end")
            assert len(actors(ray_nodes, "WorkerActor")) == 2

    runner.run(scenario())


def test_a_drained_node_finishes_what_it_took(ray_nodes, settings_for, runner):
    async def scenario() -> None:
        node = Node(settings_for(min_workers=2, max_workers=2, silence_s=60))
        async with node.pool:
            await node.all_ready()
            drained = ray_nodes.second
            leaving = next(view for view in node.views if view.report.node_id == drained)
            with suspended(leaving):
                jobs = node.submit(6)
                assert leaving.jobs
                ray_nodes.do("drain two")
                await until(lambda: leaving.is_leaving, "news of the drain")
                took = len(leaving.jobs)
                (finding,) = await answers_of(node.submit(1, first=6))
                assert isinstance(finding, Finding)
                assert len(leaving.jobs) == took
            answers = await answers_of(jobs)
            assert [type(answer) for answer in answers] == [Finding] * 6
            await until(lambda: not is_up(ray_nodes, drained), "the node's end")
            assert isinstance((await answers_of(node.submit(1)))[0], Finding)
            ray_nodes.do("end two")
            ray_nodes.second = ray_nodes.do("add two")
            await node.all_ready()

    runner.run(scenario())


def test_a_worker_that_is_not_needed_ends_and_all_do_after_the_last_service(
    ray_nodes, settings_for, runner
):
    async def scenario() -> None:
        settings = settings_for(
            min_workers=1, max_workers=2, silence_s=60, queue_age_ms=1, idle_s=1
        )
        node = Node(settings)
        async with node.pool:
            await node.all_ready()
            (first,) = node.views
            with suspended(first):
                jobs = node.submit(20)  # the process takes two batches of four
                await until(lambda: len(node.views) == 2, "another worker")
                other = next(view for view in node.views if view is not first)
                await until(lambda: other.is_ready, "its readiness")
                assert len(actors(ray_nodes, "WorkerActor")) == 2
            answers = await answers_of(jobs)
            assert [type(answer) for answer in answers] == [Finding] * 20
            await until(lambda: len(node.views) == 1, "its retirement")
            await until(lambda: len(actors(ray_nodes, "WorkerActor")) == 1, "its end")
            assert isinstance((await answers_of(node.submit(1)))[0], Finding)
        await until(lambda: not actors(ray_nodes, "WorkerActor", "Manager"), "the end of all")

    runner.run(scenario())


def test_a_manager_that_starts_again_without_a_service_ends_with_its_workers(
    ray_nodes, settings_for, runner
):
    async def scenario() -> None:
        node = Node(settings_for(min_workers=1, max_workers=1, silence_s=60, linger_s=5))
        async with node.pool:
            await node.all_ready()
            (manager,) = actors(ray_nodes, "Manager")
        manager.kill()  # before it has missed the service
        await until(lambda: actors(ray_nodes, "Manager") not in ([], [manager]), "another manager")
        await until(lambda: not actors(ray_nodes, "WorkerActor", "Manager"), "the end of all")

    runner.run(scenario())


def test_a_service_that_is_told_to_stop_answers_what_it_took(ray_nodes, store, image):
    settings = {
        "cluster__address": ray_nodes.address,
        "cluster__max_workers": 1,
        "cluster__linger_s": 1,
        "cluster__silence_s": 60,
        "workers__heartbeat_timeout_ms": 600_000,
        "workers__min_batch_timeout_ms": 600_000,
        "workers__batch_timeout_ms": 600_000,
        "http__request_timeout_ms": 120_000,
    }
    with serving(store, **settings) as live, ThreadPoolExecutor(4) as stations:
        (actor,) = actors(ray_nodes, "WorkerActor")
        computing = [
            child
            for child in actor.children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        for process in computing:
            process.suspend()
        answers = [stations.submit(live.inspect, image(seed=seed)) for seed in range(4)]
        live.until(lambda: waiting(live), "images that wait", TIMEOUT_S)
        live.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert live.process.poll() is None
        for process in computing:
            process.resume()
        assert [answer.result()["decision"] for answer in answers] == ["OK"] * 4
        assert live.await_end() == 0
        live.until(
            lambda: not actors(ray_nodes, "WorkerActor", "Manager"), "the end of all", TIMEOUT_S
        )

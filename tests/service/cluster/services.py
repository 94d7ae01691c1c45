"""A service without its HTTP doors, and its jobs, for tests of the cluster."""

import asyncio
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import psutil
from prometheus_client import CollectorRegistry

from model.checkpoints.store import Store
from model.inspection import ImageSize
from service.cluster.pool import ClusterPool
from service.cluster.view import WorkerView
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.versions.registry import Registry
from service.workers.jobs import Job
from service.workers.pipe.messages import Finding, Item

TIMEOUT_S = 240.0


class Node:
    """A service without its HTTP doors."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry(Store(settings.versions.weights_dir), Metrics(CollectorRegistry()))
        self.metrics = Metrics(CollectorRegistry())
        self.pool = ClusterPool(
            settings, lambda: self.registry.checkpoints, self.metrics, self.registry.report
        )
        self._workers = settings.cluster.min_workers

    @property
    def views(self) -> list[WorkerView]:
        return list(self.pool._views.values())

    async def all_ready(self) -> None:
        await until(
            lambda: len(self.views) == self._workers and all(view.is_ready for view in self.views),
            "readiness",
        )

    def job(self, seed: int = 0, category: str = "bolt", left_s: float = TIMEOUT_S) -> Job:
        return job_of(self.registry, seed, category, left_s)

    def submit(self, count: int, first: int = 0) -> list[Job]:
        jobs = [self.job(first + number) for number in range(count)]
        for job in jobs:
            self.pool.submit(job)
        return jobs


def job_of(registry: Registry, seed: int, category: str = "bolt", left_s: float = TIMEOUT_S) -> Job:
    loop, route = asyncio.get_running_loop(), registry.find(category)
    pixels = np.random.default_rng(seed).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
    item = Item(category, ImageSize(64, 64), True, route.calibration)
    now = loop.time()
    return Job(route.checkpoint, item, pixels, now + left_s, loop.create_future(), now)


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.05)
    assert condition(), what


async def answers_of(jobs: list[Job]) -> list[Finding | BaseException]:
    async with asyncio.timeout(TIMEOUT_S):
        return await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)


def processes_below(view: WorkerView) -> list[psutil.Process]:
    """The processes that compute for a worker."""
    assert view.report is not None
    assert view.report.pid is not None
    children = psutil.Process(view.report.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@contextmanager
def suspended(*views: WorkerView):
    """While the block runs, these workers compute nothing; their actors go on."""
    processes = [process for view in views for process in processes_below(view)]
    assert len(processes) >= len(views)
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.resume()

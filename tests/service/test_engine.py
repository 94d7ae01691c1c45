"""Real worker processes under load, killed, suspended, short of memory, and reloaded."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import Decision, ImageSize
from model.network import MambaAD
from service.errors import CheckpointUnavailable, WorkerLost
from service.inspection.readiness import ReadinessCheck
from service.settings import TelemetrySettings, WorkerSettings
from service.shutdown import Shutdown
from service.telemetry.metrics import Metrics
from service.versions.registry import Registry
from service.workers.jobs import Job
from service.workers.pipe.messages import Finding, Item
from service.workers.pool import WorkerPool

PARTS = CheckpointKey("parts", "1")
OTHERS = tuple(CheckpointKey(f"other{i}", "1") for i in range(3))
TIMEOUT_S = 120
MODEL_BYTES = 4 * 2**20


class Engine:
    """A pool of one worker, with its event loop in a thread."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._metrics = Metrics(CollectorRegistry())
        self._settings = WorkerSettings(
            threads_per_worker=1,
            max_batch_size=4,
            batch_efficiency=1.0,
            restart_backoff_s=0.1,
            stop_grace_s=2,
            **options,
        )
        self.pool: WorkerPool = self.run(self._start(root))

    async def _start(self, root: Path) -> WorkerPool:
        registry = Registry(Store(root), self._metrics)
        pool = await WorkerPool(
            self._settings,
            registry.checkpoints,
            self._metrics,
            registry.report,
            weights_dir=root,
            logs=TelemetrySettings(),
        ).__aenter__()
        self.readiness = ReadinessCheck(pool, registry, Shutdown())
        await asyncio.wait_for(self.readiness.wait(), TIMEOUT_S)
        return pool

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT_S)

    def close(self) -> None:
        self.run(self.pool.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(TIMEOUT_S)
        self.loop.close()

    @property
    def pid(self) -> int:
        pid = self.pool.workers[0].pid
        assert pid is not None
        return pid

    async def ready(self) -> None:
        while not self.pool.workers[0].is_ready:
            await asyncio.sleep(0.02)

    def metric(self, name: str, **labels: str) -> float:
        value = self._metrics.registry.get_sample_value(name, {"worker": "cpu", **labels})
        return value or 0.0


@pytest.fixture(scope="module")
def store(tmp_path_factory, save, network) -> Path:
    """`parts`, three more with the same encoder, and `rotten`, with a flipped byte."""
    root = tmp_path_factory.mktemp("engine") / "weights"
    save(root, "parts", {"bolt": 10.0, "nut": -10.0})
    encoder = network().encoder
    for key in OTHERS:
        net = network()
        save(root, key.name, {key.name: 10.0}, MambaAD(net.config, encoder))
    damaged = save(root, "rotten", {"rust": 1.0}) / "network.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    return root


@pytest.fixture(scope="module")
def engine(store):
    # They hold the encoder and two of the four checkpoints.
    engine = Engine(store, max_model_bytes=MODEL_BYTES, heartbeat_timeout_ms=4000)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def make_job(calibration):
    def make(key=PARTS, category="bolt", wants_map=False, seed=0, maps_of=frozenset()):
        loop = asyncio.get_running_loop()
        threshold = -10.0 if category == "nut" else 10.0
        item = Item(category, ImageSize(64, 64), wants_map, calibration(threshold), maps_of=maps_of)
        pixels = np.random.default_rng(seed).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
        now = loop.time()
        return Job(key, item, pixels, now + TIMEOUT_S, loop.create_future(), now)

    return make


def submit(engine, *jobs):
    for job in jobs:
        engine.pool.submit(job)
    return jobs


def outcomes(jobs):
    return asyncio.gather(*(job.future for job in jobs), return_exceptions=True)


def test_answers_reach_their_own_images_and_equal_single_ones(engine, make_job):
    async def scenario():
        single = []
        for seed in range(6):
            (job,) = submit(engine, make_job(seed=seed, wants_map=True))
            single.append(await job.future)
        categories = ["bolt", "nut"] * 3
        together = submit(
            engine,
            *(
                make_job(category=category, seed=seed, wants_map=seed % 2 == 0)
                for seed, category in enumerate(categories)
            ),
        )
        answers = await outcomes(together)
        assert [f.decision for f in answers] == [Decision.OK, Decision.NG] * 3
        for alone, beside, seed in zip(single, answers, range(6), strict=True):
            assert beside.raw_score == pytest.approx(alone.raw_score, rel=1e-4)
            assert (beside.pixel_scores is None) == (seed % 2 == 1)
        for seed in (0, 2, 4):
            np.testing.assert_allclose(
                answers[seed].pixel_scores, single[seed].pixel_scores, atol=1e-5
            )
        assert len({f.raw_score for f in single}) == 6
        kept = frozenset({Decision.NG})
        jobs = (make_job(category=c, seed=2, maps_of=kept) for c in ("bolt", "nut"))
        passed, caught = await outcomes(submit(engine, *jobs))
        assert passed.pixel_scores is None
        assert caught.pixel_scores.shape == (64, 64)

    engine.run(scenario())


def test_more_checkpoints_than_fit_are_served_and_memory_bounded(engine, make_job):
    async def scenario():
        jobs = []
        for turn in range(2):
            jobs += submit(engine, *(make_job(key, key.name, seed=turn) for key in OTHERS))
            jobs += submit(engine, make_job(seed=turn))
        answers = await outcomes(jobs)
        assert all(isinstance(answer, Finding) for answer in answers), answers
        residents = engine.pool.residents()["cpu"]
        assert 1 <= len(residents) <= 2
        assert engine.metric("mambaad_model_evictions_total") >= 2
        assert engine.metric("mambaad_weights_memory_bytes") <= MODEL_BYTES

    engine.run(scenario())


def test_a_load_that_fails_or_succeeds_disturbs_nobody(engine, make_job):
    async def scenario():
        done = asyncio.Event()
        findings = []

        async def inspect():
            while not done.is_set():
                (job,) = submit(engine, make_job())
                findings.append(await job.future)

        inspecting = asyncio.create_task(inspect())
        with pytest.raises(CheckpointUnavailable, match="sha256"):
            await engine.pool.load(CheckpointKey("rotten", "1"))
        report = (await engine.pool.load(OTHERS[0]))["cpu"]
        loaded = engine.pool.residents()["cpu"][OTHERS[0]]
        await engine.pool.unload(OTHERS[0])
        done.set()
        await inspecting
        assert report.seconds > 0
        assert loaded.latency_line.seconds(1) > 0
        assert OTHERS[0] not in engine.pool.residents()["cpu"]
        assert len(findings) > 3
        assert {finding.decision for finding in findings} == {Decision.OK}

    engine.run(scenario())


def test_a_worker_killed_under_load_loses_one_batch_and_nothing_else(engine, make_job):
    def open_files():
        folder = Path("/proc/self/fd")
        return len(list(folder.iterdir())) if folder.is_dir() else 0

    async def scenario():
        nonlocal files
        # Memory is shared on demand: by now there is enough for so many images.
        await outcomes(submit(engine, *(make_job(seed=seed) for seed in range(24))))
        files = open_files()
        jobs = submit(engine, *(make_job(seed=seed) for seed in range(24)))
        await jobs[0].future
        os.kill(engine.pid, signal.SIGKILL)
        answers = await outcomes(jobs)
        lost = [answer for answer in answers if not isinstance(answer, Finding)]
        assert all(isinstance(answer, WorkerLost) for answer in lost), lost
        assert len(lost) <= 4
        assert engine.readiness().ready
        assert engine.metric("mambaad_worker_restarts_total") == 1

    files = 0
    engine.run(scenario())
    patience = time.monotonic() + 10  # the former process's pipe may close a moment later
    while open_files() > files and time.monotonic() < patience:
        time.sleep(0.1)
    assert open_files() <= files


def test_a_worker_held_still_is_found_and_replaced(engine, make_job):
    async def scenario():
        pid = engine.pid
        os.kill(pid, signal.SIGSTOP)  # while idle: no late batch reveals it
        while engine.pool.workers[0].pid == pid:
            await asyncio.sleep(0.02)
        assert not engine.readiness().ready
        await engine.ready()
        (job,) = submit(engine, make_job())
        assert isinstance(await job.future, Finding)

    engine.run(scenario())

"""Several workers: who takes a job, and what happens to a dead one's queue."""

import asyncio
import math

import numpy as np
import pytest

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import ImageSize
from service.errors import NoWorkerReady, QueueFull
from service.settings import TelemetrySettings, WorkerSettings
from service.versions.registry import Registry
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import Item
from service.workers.pool import WorkerPool
from service.workers.protocol import WorkerState
from service.workers.supervision import Supervision

NORMAL = Calibration(
    image_threshold=1.0,
    pixel_threshold=1.0,
    image_scale=1.0,
    pixel_scale=1.0,
    alpha=0.01,
    good_images=150,
)


@pytest.fixture
def pool(metrics, weights):
    settings = WorkerSettings(
        devices=("cpu", "cuda:0", "cuda:1"), threads_per_worker=1, max_queue_size=2
    )
    return pool_of(settings, weights, metrics)


def pool_of(settings, weights, metrics):
    registry = Registry(Store(weights), metrics)
    return WorkerPool(
        settings, registry.checkpoints, metrics, registry.report,
        weights_dir=weights, logs=TelemetrySettings(),
    )  # fmt: skip


def set_ready(pool, *names):
    for worker in pool.workers:
        ready = worker.plan.name in names
        worker._set(WorkerState.READY if ready else WorkerState.RESTARTING, "test")


def job(held_bytes=0):
    loop = asyncio.get_running_loop()
    item = Item("bolt", ImageSize(8, 8), False, NORMAL)
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    key = CheckpointKey("parts", "1")
    future = loop.create_future()
    return Job(key, item, pixels, loop.time() + 60, future, loop.time(), held_bytes=held_bytes)


def waiting(pool):
    return [len(worker.batcher) for worker in pool.workers]


def test_each_worker_knows_its_device(pool):
    assert [worker.plan.device for worker in pool.workers] == ["cpu", "cuda:0", "cuda:1"]


def test_the_shortest_queue_of_a_ready_worker_takes_the_job(pool):
    async def scenario():
        set_ready(pool, "cpu", "cuda:1")
        for _ in range(3):
            pool.submit(job())
        assert waiting(pool) == [2, 0, 1]
        pool.submit(job())
        with pytest.raises(QueueFull):
            pool.admit(CheckpointKey("parts", "1"), math.inf, Priority.NORMAL, 0)
        with pytest.raises(QueueFull):
            pool.submit(job())

    asyncio.run(scenario())


def test_the_worker_that_will_be_done_first_takes_the_job(pool):
    async def scenario():
        set_ready(pool, "cpu", "cuda:0")
        key = CheckpointKey("parts", "1")
        pool.workers[0]._latencies.learn(key, {1: 10.0, 2: 20.0})
        pool.workers[1]._latencies.learn(key, {1: 4.0, 2: 8.0})
        for _ in range(3):
            pool.submit(job())
        assert waiting(pool) == [1, 2, 0]
        assert pool.estimate_s(key) == 12.0

    asyncio.run(scenario())


def test_all_that_waits_together_is_bounded_in_bytes(weights, metrics):
    async def scenario():
        settings = WorkerSettings(devices=("cpu", "cuda:0"), max_queue_bytes=1000)
        pool = pool_of(settings, weights, metrics)
        set_ready(pool, "cpu", "cuda:0")
        pool.submit(job(held_bytes=5000))  # an idle worker takes even a larger one
        with pytest.raises(QueueFull, match="5192 bytes"):
            pool.submit(job())

    asyncio.run(scenario())


def test_without_a_ready_worker_nothing_is_taken(pool):
    async def scenario():
        set_ready(pool)
        with pytest.raises(NoWorkerReady) as caught:
            pool.submit(job())
        assert 1 <= caught.value.retry_after_s <= 60

    asyncio.run(scenario())


def test_the_others_take_over_a_dead_workers_queue(pool):
    async def scenario():
        set_ready(pool, "cpu")
        jobs = [job(), job()]
        for queued in jobs:
            pool.submit(queued)
        set_ready(pool, "cuda:0")
        pool._hand_over(pool.workers[0])
        assert waiting(pool) == [0, 2, 0]
        assert not any(queued.future.done() for queued in jobs)

    asyncio.run(scenario())


def test_what_the_others_cannot_take_is_answered(pool):
    async def scenario():
        set_ready(pool, "cuda:0")
        first = job()
        pool.submit(first)
        set_ready(pool, "cpu")
        jobs = [job(), job()]
        for queued in jobs:
            pool.submit(queued)
        set_ready(pool, "cuda:0")
        pool._hand_over(pool.workers[0])
        assert waiting(pool) == [0, 2, 0]
        with pytest.raises(QueueFull):
            await jobs[1].future

    asyncio.run(scenario())


def test_alone_a_dead_workers_queue_waits_for_it(pool):
    async def scenario():
        set_ready(pool, "cpu")
        pool.submit(job())
        set_ready(pool)
        pool._hand_over(pool.workers[0])
        assert waiting(pool) == [1, 0, 0]

    asyncio.run(scenario())


def test_each_death_in_a_row_doubles_the_wait_up_to_a_limit():
    patience = Supervision(1, 1, backoff_s=0.5, max_backoff_s=3, stop_grace_s=1)
    assert [patience.delay_s(deaths) for deaths in (1, 2, 3, 4, 10_000)] == [0.5, 1, 2, 3, 3]


def test_a_load_that_fails_leaves_starting_workers_what_they_are_to_load(pool):
    async def scenario():
        key = CheckpointKey("parts", "1")
        with pytest.raises(NoWorkerReady):
            await pool.load(key)
        assert all(worker.residency.keeps(key) for worker in pool.workers)

    asyncio.run(scenario())


def test_it_says_how_each_worker_is(pool):
    set_ready(pool, "cpu")
    assert [(worker.name, worker.state, worker.waiting) for worker in pool.status()] == [
        ("cpu", WorkerState.READY, 0),
        ("cuda:0", WorkerState.RESTARTING, 0),
        ("cuda:1", WorkerState.RESTARTING, 0),
    ]


def test_it_tells_what_a_fresh_process_refused_and_that_something_changed(metrics, weights):
    notices = []
    key = CheckpointKey("parts", "1")

    async def scenario():
        pool = WorkerPool(
            WorkerSettings(devices=("cpu",)), (key,), metrics,
            lambda *refused: notices.append(refused),
            weights_dir=weights, logs=TelemetrySettings(),
        )  # fmt: skip
        waiting = asyncio.create_task(pool.wait_change())
        await asyncio.sleep(0)
        pool._note_ready("cpu", {key: "damaged"})
        await asyncio.wait_for(waiting, 5)

    asyncio.run(scenario())
    assert notices == [("cpu", {key: "damaged"})]

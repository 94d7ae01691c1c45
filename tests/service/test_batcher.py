"""The queue: grouped, bounded, in order, and free of what nobody waits for."""

import asyncio
import math

import numpy as np
import pytest

from model.calibration import Calibration
from model.inspection import Decision, ImageSize
from service.batcher import Batcher, BatchLimits, Job
from service.channel import CheckpointKey, Failure, FailureKind, Finding, Item
from service.errors import (
    CheckpointUnavailable,
    DeadlineExceeded,
    InspectionFailed,
    NonFiniteResult,
    QueueFull,
    WorkerLost,
)

A, B = CheckpointKey("a", "1"), CheckpointKey("b", "1")
FINDING = Finding(Decision.OK, 0.1, 0.2, 0.3, (), {})

NORMAL = Calibration(
    image_threshold=1.0,
    pixel_threshold=1.0,
    image_scale=1.0,
    pixel_scale=1.0,
    alpha=0.01,
    good_images=150,
)


def job(checkpoint=A, category="bolt", timeout_s=60.0, fill=0):
    loop = asyncio.get_running_loop()
    item = Item(category, ImageSize(48, 96), False, NORMAL)
    pixels = np.full((3, 8, 8), fill, np.uint8)
    now = loop.time()
    return Job(checkpoint, item, pixels, now + timeout_s, loop.create_future(), now)


@pytest.fixture
def make(metrics):
    def build(batch=4, delay_s=0.0, queue=8):
        return Batcher("cpu", BatchLimits(batch, delay_s, queue), metrics)

    return build


def depth(metrics):
    return metrics.registry.get_sample_value("mambaad_queue_depth", {"worker": "cpu"})


def dropped(metrics, reason):
    labels = {"worker": "cpu", "reason": reason}
    return metrics.registry.get_sample_value("mambaad_jobs_dropped_total", labels)


def submit(batcher, *jobs):
    for one in jobs:
        batcher.submit(one)
    return jobs


def test_what_waits_goes_together_whatever_its_category(make, metrics):
    async def scenario():
        batcher = make()
        jobs = submit(batcher, job(category="bolt", fill=1), job(category="nut", fill=2))
        assert depth(metrics) == 2
        batch = await batcher.next_batch()
        request = batch.request()
        assert batch.jobs == jobs
        assert [item.category for item in request.items] == ["bolt", "nut"]
        assert request.pixels.shape == (2, 3, 8, 8)
        assert request.pixels[:, 0, 0, 0].tolist() == [1, 2]
        assert depth(metrics) == 0
        assert all(one.queue_ms >= 0 for one in jobs)

    asyncio.run(scenario())


def test_a_batch_is_filled_from_one_checkpoint_past_the_others(make):
    async def scenario():
        batcher = make(batch=3)
        a1, b1, a2, b2, a3, a4 = submit(batcher, *map(job, (A, B, A, B, A, A)))
        assert (await batcher.next_batch()).jobs == (a1, a2, a3)
        assert (await batcher.next_batch()).jobs == (b1, b2)
        assert (await batcher.next_batch()).jobs == (a4,)

    asyncio.run(scenario())


def test_the_next_batch_waits_for_the_first_job(make):
    async def scenario():
        batcher = make()
        waiting = asyncio.create_task(batcher.next_batch())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        (only,) = submit(batcher, job())
        assert (await waiting).jobs == (only,)

    asyncio.run(scenario())


def test_a_delay_holds_a_batch_back_until_it_is_full(make):
    async def scenario():
        batcher = make(batch=2, delay_s=30.0)
        waiting = asyncio.create_task(batcher.next_batch())
        first, other = submit(batcher, job(A), job(B))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        (second,) = submit(batcher, job(A))
        assert (await waiting).jobs == (first, second)
        assert len(batcher) == 1
        assert not other.future.done()

    asyncio.run(scenario())


def test_a_delay_ends_though_nothing_else_comes(make):
    async def scenario():
        batcher = make(batch=2, delay_s=0.02)
        (only,) = submit(batcher, job())
        batch = await batcher.next_batch()
        assert batch.jobs == (only,)
        assert only.queue_ms >= 20

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_says_when_to_return(make):
    async def scenario():
        batcher = make(queue=4)
        batcher.record(jobs=2, seconds=5.0)
        submit(batcher, *(job() for _ in range(4)))
        with pytest.raises(QueueFull) as caught:
            batcher.submit(job())
        assert caught.value.retry_after_s == 10
        with pytest.raises(QueueFull):
            batcher.admit()

    asyncio.run(scenario())


def test_the_estimate_follows_what_batches_take(make):
    async def scenario():
        batcher = make()
        submit(batcher, job())
        assert batcher.wait_s == 0
        batcher.record(1, 1.0)
        assert batcher.wait_s == 1.0
        batcher.record(1, 2.0)
        assert batcher.wait_s == pytest.approx(1.2)

    asyncio.run(scenario())


def test_a_caller_that_goes_away_frees_its_place(make, metrics):
    async def scenario():
        batcher = make(queue=2)
        gone, stays = submit(batcher, job(), job())
        gone.future.cancel()
        await asyncio.sleep(0)
        assert len(batcher) == 1
        batcher.submit(job())
        assert stays in (await batcher.next_batch()).jobs
        assert dropped(metrics, "cancelled") == 1

    asyncio.run(scenario())


def test_a_caller_that_went_a_moment_ago_is_not_computed(make):
    async def scenario():
        batcher = make()
        gone, stays = submit(batcher, job(), job())
        gone.future.cancel()  # and its callback has not run yet
        assert (await batcher.next_batch()).jobs == (stays,)

    asyncio.run(scenario())


def test_an_expired_job_is_not_computed_but_answered(make, metrics):
    async def scenario():
        batcher = make()
        late, stays = submit(batcher, job(timeout_s=0.0), job())
        assert (await batcher.next_batch()).jobs == (stays,)
        with pytest.raises(DeadlineExceeded):
            await late.future
        assert dropped(metrics, "expired") == 1
        assert dropped(metrics, "cancelled") is None
        assert len(batcher) == 0

    asyncio.run(scenario())


def test_cancelling_the_wait_for_a_batch_loses_no_job(make):
    async def scenario():
        batcher = make(batch=2, delay_s=30.0)
        (only,) = submit(batcher, job())
        waiting = asyncio.create_task(batcher.next_batch())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert batcher.drain() == [only]
        assert len(batcher) == 0

    asyncio.run(scenario())


def test_a_drained_job_can_wait_elsewhere(make, metrics):
    async def scenario():
        first, second = make(), Batcher("cuda:0", BatchLimits(4, 0, 8), metrics)
        submit(first, job(A), job(B))
        moved = submit(second, *first.drain())
        moved[0].future.cancel()
        await asyncio.sleep(0)
        assert (len(first), len(second)) == (0, 1)

    asyncio.run(scenario())


def test_outcomes_reach_their_own_jobs(make):
    async def scenario():
        batcher = make()
        jobs = submit(batcher, *(job() for _ in range(4)))
        batch = await batcher.next_batch()
        batch.settle((FINDING, *(Failure(kind) for kind in FailureKind)))
        assert await jobs[0].future is FINDING
        errors = await asyncio.gather(*(one.future for one in jobs[1:]), return_exceptions=True)
        assert [type(error) for error in errors] == [
            NonFiniteResult,
            CheckpointUnavailable,
            InspectionFailed,
        ]

    asyncio.run(scenario())


def test_an_answer_for_nobody_is_let_go(make):
    async def scenario():
        batcher = make()
        gone, stays = submit(batcher, job(), job())
        batch = await batcher.next_batch()
        gone.future.cancel()
        batch.settle((FINDING, FINDING))
        assert await stays.future is FINDING

    asyncio.run(scenario())


def test_a_lost_batch_is_answered(make):
    async def scenario():
        batcher = make()
        jobs = submit(batcher, job(), job())
        (await batcher.next_batch()).fail(WorkerLost("died", 3))
        errors = await asyncio.gather(*(one.future for one in jobs), return_exceptions=True)
        assert [error.retry_after_s for error in errors] == [3, 3]

    asyncio.run(scenario())


def test_a_job_that_was_never_taken_has_no_queue_time():
    async def scenario():
        assert math.isnan(job().queue_ms)

    asyncio.run(scenario())

"""The queue: grouped, bounded, in order, and without abandoned jobs."""

import asyncio
import math

import numpy as np
import pytest

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Decision, ImageSize
from service.errors import (
    CheckpointUnavailable,
    DeadlineExceeded,
    InspectionFailed,
    NonFiniteResult,
    QueueFull,
    WorkerLost,
)
from service.workers.batcher import Batcher, QueueLimits
from service.workers.jobs import Job, Priority
from service.workers.latency import Latencies
from service.workers.pipe.memory import SharedBlock
from service.workers.pipe.messages import Failure, FailureKind, Finding, Item, Sharing

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


def job(
    checkpoint=A,
    category="bolt",
    timeout_s=60.0,
    fill=0,
    priority=Priority.NORMAL,
    age_s=0.0,
    inputs=1,
):
    loop = asyncio.get_running_loop()
    item = Item(category, ImageSize(48, 96), False, NORMAL, inputs)
    pixels = np.full((inputs, 3, 8, 8), fill, np.uint8)
    now = loop.time()
    future = loop.create_future()
    return Job(checkpoint, item, pixels, now + timeout_s, future, now - age_s, priority)


@pytest.fixture
def make(metrics):
    def build(
        batch=4, delay_s=0.0, queue=8, worker="cpu", opened=(A, B), seconds=None, lanes=1,
        sharing=Sharing.NEVER,
    ):  # fmt: skip
        latencies = Latencies(batch, efficiency=1.0)
        for key in opened:
            latencies.learn(key, seconds or {})
            latencies.sharing[key] = sharing
        batcher = Batcher(worker, QueueLimits(delay_s, queue), latencies, metrics, lanes)
        for key in opened:
            batcher.open(key)
        return batcher

    return build


def depth(metrics):
    return metrics.registry.get_sample_value("mambaad_queue_depth", {"worker": "cpu"})


def dropped(metrics, reason):
    labels = {"worker": "cpu", "reason": reason}
    return metrics.registry.get_sample_value("mambaad_jobs_dropped_total", labels)


def submit(batcher, *jobs):
    for submitted in jobs:
        batcher.submit(submitted)
    return jobs


def test_what_waits_goes_together_whatever_its_category(make, metrics):
    async def scenario():
        batcher = make()
        jobs = submit(batcher, job(category="bolt", fill=1), job(category="nut", fill=2))
        assert depth(metrics) == 2
        batch = await batcher.next_batch()
        request = batch.request(7)
        assert batch.jobs == jobs
        assert [item.category for item in request.items] == ["bolt", "nut"]
        block = SharedBlock()
        batch.write(request, block)
        assert request.pixels_shape == (2, 3, 8, 8)
        pixels = block.array(request.pixels_shape, np.uint8)
        assert pixels[:, 0, 0, 0].tolist() == [1, 2]
        block.close()
        assert depth(metrics) == 0
        assert all(waited.queue_ms >= 0 for waited in jobs)

    asyncio.run(scenario())


def test_low_jobs_go_alone_after_all_others_and_however_long_they_wait(make):
    async def scenario():
        batcher = make()
        late = submit(batcher, *(job(priority=Priority.LOW, age_s=50.0) for _ in range(2)))
        parts = submit(batcher, job(), job(priority=Priority.HIGH), job())
        batches = [await batcher.next_batch() for _ in range(3)]
        assert [set(batch.jobs) for batch in batches] == [set(parts), {late[0]}, {late[1]}]

    asyncio.run(scenario())


def test_a_lone_job_has_all_threads_however_many_low_ones_wait(make):
    async def scenario():
        batcher = make(lanes=2, sharing=Sharing.IDLE)
        submit(batcher, *(job(priority=Priority.LOW) for _ in range(3)))
        (part,) = submit(batcher, job())
        batch = await batcher.next_batch()
        assert (batch.jobs, batch.alone) == ((part,), True)

    asyncio.run(scenario())


def test_low_jobs_leave_half_of_the_queue_to_others_and_delay_none(make):
    async def scenario():
        batcher = make(queue=5, seconds={1: 2.0, 4: 2.0})
        submit(batcher, *(job(priority=Priority.LOW) for _ in range(3)))
        assert batcher.estimate_s(A, Priority.NORMAL) == 2.0
        with pytest.raises(QueueFull):
            batcher.submit(job(priority=Priority.LOW))
        submit(batcher, job(), job())
        with pytest.raises(QueueFull):
            batcher.submit(job())

    asyncio.run(scenario())


def test_the_inputs_of_tiled_images_count_and_stay_together(make):
    async def scenario():
        batcher = make(batch=4)
        sizes = (3, 1, 2, 6, 1)
        jobs = submit(batcher, *(job(inputs=n, fill=n) for n in sizes))
        batches = [await batcher.next_batch() for _ in range(4)]
        assert [[queued.inputs for queued in batch.jobs] for batch in batches] == [
            [3, 1],
            [2],
            [6],
            [1],
        ]
        assert [queued for batch in batches for queued in batch.jobs] == list(jobs)
        request = batches[0].request(1)
        assert request.pixels_shape == (4, 3, 8, 8)
        block = SharedBlock()
        batches[0].write(request, block)
        pixels = block.array(request.pixels_shape, np.uint8)
        assert pixels[:, 0, 0, 0].tolist() == [3, 3, 3, 1]
        block.close()

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
        batcher = make(queue=4, seconds={1: 2.5, 2: 5.0})
        submit(batcher, *(job() for _ in range(4)))
        with pytest.raises(QueueFull) as caught:
            batcher.submit(job())
        assert caught.value.retry_after_s == 13  # four waiting and itself
        with pytest.raises(QueueFull):
            batcher.admit(A, math.inf, Priority.NORMAL)
        batcher.submit(job(B))  # each checkpoint has its own queue

    asyncio.run(scenario())


def test_the_estimate_is_of_all_that_goes_before(make):
    async def scenario():
        batcher = make(batch=2, seconds={1: 3.0, 2: 4.0})  # 1 s an image, 2 s a batch
        assert batcher.estimate_s(A, Priority.NORMAL) == pytest.approx(3)
        submit(batcher, job(A), job(A), job(B))
        assert batcher.estimate_s(A, Priority.NORMAL) == pytest.approx(4 + 3 + 3)
        assert batcher.estimate_s(A, Priority.HIGH) == pytest.approx(3)
        batch = await batcher.next_batch()
        assert batcher.estimate_s(A, Priority.HIGH) == pytest.approx(4 + 3, abs=0.1)
        batcher.finish(batch)
        assert batcher.estimate_s(A, Priority.NORMAL) == pytest.approx(3 + 3)

    asyncio.run(scenario())


def test_what_would_be_late_is_shed_at_the_door(make, metrics):
    async def scenario():
        batcher = make(seconds={1: 3.0, 2: 4.0})
        with pytest.raises(DeadlineExceeded, match="3 s"):
            batcher.submit(job(timeout_s=2.9))
        assert (len(batcher), dropped(metrics, "shed")) == (0, 1)
        batcher.submit(job(timeout_s=3.5))
        with pytest.raises(DeadlineExceeded):
            batcher.submit(job(timeout_s=3.5))  # behind that job it would be late

    asyncio.run(scenario())


def test_one_slow_batch_long_ago_does_not_shed_for_good(make):
    async def scenario():
        batcher = make(seconds={1: 3.0, 2: 4.0})
        batcher._latencies._measured_at[A] -= 60
        submit(batcher, job(A, timeout_s=1.0))  # and so it is measured again
        with pytest.raises(DeadlineExceeded):
            batcher.submit(job(A, timeout_s=0.9))  # behind that job it would be late

    asyncio.run(scenario())


def test_nothing_is_shed_before_anything_was_measured(make):
    async def scenario():
        submit(make(), job(timeout_s=1e-3), job(timeout_s=1e-3))

    asyncio.run(scenario())


def test_urgent_jobs_go_first_and_fill_up_with_others(make):
    async def scenario():
        batcher = make(batch=2)
        a, b, urgent = submit(batcher, job(A), job(B), job(B, priority=Priority.HIGH))
        assert (await batcher.next_batch()).jobs == (urgent, b)
        assert (await batcher.next_batch()).jobs == (a,)

    asyncio.run(scenario())


def test_a_job_that_waited_long_enough_goes_before_urgent_ones(make):
    async def scenario():
        batcher = make(batch=2, queue=100)
        urgent = [job(A, priority=Priority.HIGH) for _ in range(20)]
        old, older = job(A, age_s=1.1), job(B, age_s=1.2)
        submit(batcher, *urgent, old, older)
        assert (await batcher.next_batch()).jobs == (older,)
        assert (await batcher.next_batch()).jobs == (old, urgent[0])

    asyncio.run(scenario())


def test_a_batch_is_no_larger_than_pays(metrics):
    async def scenario():
        latencies = Latencies(16, efficiency=0.95)
        latencies.learn(A, {1: 1.1, 2: 2.1, 4: 4.1})
        batcher = Batcher("cpu", QueueLimits(0.0, 8), latencies, metrics)
        batcher.open(A)
        submit(batcher, *(job() for _ in range(6)))
        assert [len((await batcher.next_batch()).jobs) for _ in range(3)] == [2, 2, 2]
        latencies.remember_limit(A, 1)
        submit(batcher, job(), job())
        assert len((await batcher.next_batch()).jobs) == 1

    asyncio.run(scenario())


def test_jobs_wait_aside_until_their_checkpoint_is_there(make):
    async def scenario():
        batcher = make(opened=(B,))
        early, other = submit(batcher, job(A), job(B))
        assert batcher.unopened == [A]
        assert (await batcher.next_batch()).jobs == (other,)
        waiting = asyncio.create_task(batcher.next_batch())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        batcher.open(A)
        assert (await waiting).jobs == (early,)

    asyncio.run(scenario())


def test_closing_a_checkpoint_waits_for_what_it_has_and_takes_no_more(make):
    async def scenario():
        batcher = make()
        (queued,) = submit(batcher, job(A))
        closing = asyncio.create_task(batcher.close(A))
        await asyncio.sleep(0)
        (late,) = submit(batcher, job(A))
        batch = await batcher.next_batch()
        assert batch.jobs == (queued,)
        await asyncio.sleep(0.01)
        assert not closing.done()
        batcher.finish(batch)
        await asyncio.wait_for(closing, 5)
        assert (batcher.unopened, batcher.is_busy(A)) == ([A], True)
        batcher.refuse(A, CheckpointUnavailable("gone"))
        with pytest.raises(CheckpointUnavailable):
            await late.future
        assert not batcher.is_busy(A)

    asyncio.run(scenario())


def test_a_checkpoint_about_to_leave_holds_no_batch_back(make):
    async def scenario():
        batcher = make(batch=2, delay_s=30.0)
        (only,) = submit(batcher, job(A))
        taking = asyncio.create_task(batcher.next_batch())
        closing = asyncio.create_task(batcher.close(A))
        batch = await asyncio.wait_for(taking, 5)
        assert batch.jobs == (only,)
        batcher.finish(batch)
        await asyncio.wait_for(closing, 5)

    asyncio.run(scenario())


def test_a_dead_worker_keeps_its_queue_aside(make):
    async def scenario():
        batcher = make()
        submit(batcher, job(A), job(B))
        batcher.close_all()
        assert (batcher.unopened, len(batcher)) == ([A, B], 2)

    asyncio.run(scenario())


def test_the_queue_knows_its_bytes_and_its_oldest(make, metrics):
    async def scenario():
        batcher = make()
        old_job = job(age_s=3.0)
        old_job.held_bytes = 1000
        submit(batcher, old_job)
        assert batcher.nbytes == 3 * 8 * 8 + 1000
        oldest = metrics.registry.get_sample_value(
            "mambaad_queue_oldest_age_seconds", {"worker": "cpu"}
        )
        assert oldest == pytest.approx(3.0, abs=0.5)
        await batcher.next_batch()
        assert batcher.nbytes == 0

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


def test_a_drained_job_can_wait_elsewhere(make):
    async def scenario():
        first, second = make(), make(worker="cuda:0")
        submit(first, job(A), job(B))
        moved = submit(second, *first.drain())
        moved[0].future.cancel()
        await asyncio.sleep(0)
        assert (len(first), len(second)) == (0, 1)

    asyncio.run(scenario())


def test_what_was_taken_and_not_begun_waits_again_before_what_came_later(make):
    async def scenario():
        batcher = make(batch=3)
        urgent = job(priority=Priority.HIGH)
        first, gone, second = submit(batcher, job(age_s=0.2), job(), job())
        taken = await batcher.next_batch()
        later, _ = submit(batcher, job(), urgent)
        gone.future.cancel()
        batcher.take_back(taken)
        batcher.finish(taken)
        assert math.isnan(first.queue_ms)
        assert len(batcher) == 4
        assert batcher.nbytes == 4 * first.nbytes
        assert (await batcher.next_batch()).jobs == (urgent, first, second)
        assert (await batcher.next_batch()).jobs == (later,)

    asyncio.run(scenario())


def test_what_is_taken_back_of_a_checkpoint_that_is_gone_waits_aside(make):
    async def scenario():
        batcher = make()
        submit(batcher, job(A))
        taken = await batcher.next_batch()
        batcher.close_all()
        batcher.take_back(taken)
        batcher.finish(taken)
        assert batcher.unopened == [A]
        batcher.open(A)
        assert (await batcher.next_batch()).jobs == taken.jobs

    asyncio.run(scenario())


def test_outcomes_reach_their_own_jobs(make):
    async def scenario():
        batcher = make()
        jobs = submit(batcher, *(job() for _ in range(4)))
        batch = await batcher.next_batch()
        batch.settle((FINDING, *(Failure(kind) for kind in FailureKind)))
        assert await jobs[0].future is FINDING
        errors = await asyncio.gather(
            *(failed.future for failed in jobs[1:]), return_exceptions=True
        )
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
        errors = await asyncio.gather(*(lost.future for lost in jobs), return_exceptions=True)
        assert [error.retry_after_s for error in errors] == [3, 3]

    asyncio.run(scenario())


def test_a_job_that_was_never_taken_has_no_queue_time():
    async def scenario():
        assert math.isnan(job().queue_ms)

    asyncio.run(scenario())


def test_images_that_wait_for_another_checkpoint_to_load_shed_nobody(make):
    async def scenario():
        batcher = make(seconds={1: 1.0, 2: 2.0}, opened=(A,))
        batcher._latencies.learn(B, {1: 1.0, 2: 2.0})  # it was resident before, and was evicted
        submit(batcher, *(job(B) for _ in range(5)))
        assert batcher.estimate_s(A, Priority.NORMAL) == pytest.approx(1)
        assert batcher.estimate_s(B, Priority.NORMAL) == pytest.approx(6)
        submit(batcher, job(A, timeout_s=2.0))
        assert (await batcher.next_batch()).checkpoint == A

    asyncio.run(scenario())


async def idle(batcher):
    try:
        async with asyncio.timeout(0.02):
            await batcher.next_batch()
    except TimeoutError:
        return True
    return False


def test_each_lane_takes_its_share_of_what_waits(make):
    async def scenario():
        batcher = make(batch=8, lanes=2)
        jobs = submit(batcher, *(job() for _ in range(5)))
        batches = [await batcher.next_batch() for _ in range(2)]
        assert [batch.jobs for batch in batches] == [jobs[:3], jobs[3:4]]
        batcher.finish(batches[1])
        assert (await batcher.next_batch()).jobs == jobs[4:]
        assert not any(batch.alone or batch.request(1).alone for batch in batches)

    asyncio.run(scenario())


def test_a_lane_takes_no_more_than_a_batch_holds(make):
    async def scenario():
        batcher = make(batch=3, queue=16, lanes=2)
        submit(batcher, *(job() for _ in range(12)))
        assert len((await batcher.next_batch()).jobs) == 3

    asyncio.run(scenario())


def test_a_lone_image_has_all_lanes_where_that_pays(make):
    async def scenario():
        batcher = make(lanes=2, sharing=Sharing.IDLE)
        first, *others = submit(batcher, job())
        alone = await batcher.next_batch()
        assert (alone.jobs, alone.alone, alone.request(1).alone) == ((first,), True, True)
        others = submit(batcher, job(), job(B))
        assert await idle(batcher)
        batcher.finish(alone)
        beside = [await batcher.next_batch() for _ in range(2)]
        assert [batch.jobs for batch in beside] == [(other,) for other in others]
        assert not any(batch.alone for batch in beside)

    asyncio.run(scenario())


def test_a_lone_image_goes_into_a_lane_where_sharing_does_not_pay_unless_it_is_tiled(make):
    async def scenario():
        batcher = make(lanes=2)
        submit(batcher, job())
        lone = await batcher.next_batch()
        assert not lone.alone
        batcher.finish(lone)
        submit(batcher, job(inputs=4))
        assert (await batcher.next_batch()).alone

    asyncio.run(scenario())


def test_what_always_shares_waits_for_all_lanes_and_is_not_overtaken_for_ever(make):
    async def scenario():
        batcher = make(lanes=2)
        batcher._latencies.sharing[B] = Sharing.ALWAYS
        submit(batcher, job())
        running = await batcher.next_batch()
        (waiting,) = submit(batcher, job(B, age_s=1.0))
        (later,) = submit(batcher, job())
        assert await idle(batcher)
        batcher.finish(running)
        batch = await batcher.next_batch()
        assert (batch.jobs, batch.alone) == ((waiting,), True)
        assert await idle(batcher)
        batcher.finish(batch)
        assert (await batcher.next_batch()).jobs == (later,)

    asyncio.run(scenario())


def test_a_batch_that_ends_wakes_who_waits_for_its_lane(make):
    async def scenario():
        batcher = make(lanes=2, sharing=Sharing.IDLE)
        submit(batcher, job())
        alone = await batcher.next_batch()
        (late,) = submit(batcher, job())
        waiting = asyncio.create_task(batcher.next_batch())
        await asyncio.sleep(0.01)
        batcher.finish(alone)
        async with asyncio.timeout(5):
            assert (await waiting).jobs == (late,)

    asyncio.run(scenario())


def test_lanes_share_the_work_that_is_ahead(make):
    async def scenario():
        estimates = []
        for lanes in (1, 2):
            batcher = make(batch=1, queue=16, seconds={1: 1.0}, lanes=lanes)
            assert batcher.estimate_s(A, Priority.NORMAL) == pytest.approx(1.0)
            submit(batcher, *(job() for _ in range(7)))
            estimates.append(batcher.estimate_s(A, Priority.NORMAL))
        assert estimates == pytest.approx([8.0, 4.0])

    asyncio.run(scenario())

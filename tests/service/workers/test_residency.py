"""Which checkpoints a worker holds: loaded on demand, bounded in bytes, never lost to a job."""

import asyncio

import numpy as np
import pytest

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Decision, ImageSize
from service.errors import CheckpointUnavailable, NoWorkerReady
from service.workers.batcher import Batcher, QueueLimits
from service.workers.jobs import Job
from service.workers.latency import Latencies
from service.workers.pipe.messages import (
    Finding,
    Item,
    LoadReply,
    LoadReport,
    PriorLoad,
    Sharing,
    UnloadReply,
    WorkerStats,
)
from service.workers.process import ProcessDied
from service.workers.residency import Residency
from service.workers.residents import ResidencyLimits

A, B, C, BAD = (CheckpointKey(name, "1") for name in ("a", "b", "c", "bad"))
NORMAL = Calibration(
    image_threshold=1.0,
    pixel_threshold=1.0,
    image_scale=1.0,
    pixel_scale=1.0,
    alpha=0.01,
    good_images=150,
)
FINDING = Finding(Decision.OK, 0.1, 0.2, 0.3, (), {})


class FakeProcess:
    """Loads everything except `bad`, 100 bytes each, and records the order."""

    def __init__(self):
        self.loaded = set()
        self.done = []
        self.priors = []
        self.weighs = 100
        self.dies = False
        self.slow = asyncio.Event()
        self.slow.set()

    def stats(self):
        return WorkerStats(1000, self.weighs * len(self.loaded), 1)

    async def load(self, key, timeout_s, prior=None):
        await self.slow.wait()
        self.priors.append(prior)
        self.done.append(f"+{key.name}")
        if self.dies:
            raise ProcessDied("its process has ended")
        if key == BAD:
            return LoadReply(0, "its sha256 is wrong", self.stats())
        self.loaded.add(key)
        report = LoadReport(100, 0.5)
        return LoadReply(0, report, self.stats(), {1: 0.03, 2: 0.04}, 7)

    async def unload(self, key, timeout_s):
        self.done.append(f"-{key.name}")
        self.loaded.discard(key)
        return UnloadReply(0, self.stats())


class Bench:
    def __init__(self, metrics, wanted=(), budget=None):
        self.latencies = Latencies(16, 0.95)
        self.batcher = Batcher("cpu", QueueLimits(0.0, 8), self.latencies, metrics)
        self.residency = Residency(
            "cpu", wanted, ResidencyLimits(budget, 10), self.batcher, self.latencies, metrics
        )
        self.process = FakeProcess()
        self.metrics = metrics

    def submit(self, key):
        loop = asyncio.get_running_loop()
        item = Item("bolt", ImageSize(8, 8), False, NORMAL)
        pixels = np.zeros((1, 3, 8, 8), np.uint8)
        now = loop.time()
        job = Job(key, item, pixels, now + 60, loop.create_future(), now)
        self.batcher.submit(job)
        self.residency.want(key)
        return job

    async def serve(self):
        while True:
            batch = await self.batcher.next_batch()
            assert batch.checkpoint in self.process.loaded
            self.residency.table.touch(batch.checkpoint)
            await asyncio.sleep(0.001)
            batch.settle((FINDING,) * len(batch.jobs))
            self.batcher.finish(batch)

    def metric(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, {"worker": "cpu", **labels})


@pytest.fixture
def play(metrics):
    def run(scenario, **options):
        async def scene():
            bench = Bench(metrics, **options)
            serving = asyncio.create_task(bench.serve())
            try:
                async with asyncio.timeout(20):
                    await scenario(bench)
            finally:
                serving.cancel()

        asyncio.run(scene())

    return run


def test_what_is_wanted_is_loaded_at_the_start_and_the_rest_reported(play):
    async def scenario(bench):
        refused = await bench.residency.attach(bench.process)
        assert refused == {BAD: "its sha256 is wrong"}
        assert set(bench.residency.residents) == {A, B}
        resident = bench.residency.residents[A]
        assert (resident.bytes, resident.loaded_s) == (100, 0.5)
        assert resident.latency_line.seconds(1) == pytest.approx(0.03)
        assert bench.latencies.limit(A) == 7
        assert bench.metric("mambaad_weights_memory_bytes") == 200
        assert bench.metric("mambaad_device_memory_bytes") == 1000
        loads = {"model": "bad", "version": "1", "outcome": "failed"}
        assert bench.metric("mambaad_model_loads_total", **loads) == 1

    play(scenario, wanted=(A, BAD, B))


def test_the_first_image_has_its_checkpoint_loaded(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        jobs = [bench.submit(A), bench.submit(A)]
        assert [await job.future for job in jobs] == [FINDING, FINDING]
        assert bench.process.done == ["+a"]

    play(scenario)


def test_images_for_what_cannot_be_loaded_are_refused_and_others_served(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        bad, good = bench.submit(BAD), bench.submit(A)
        with pytest.raises(CheckpointUnavailable, match="sha256"):
            await bad.future
        assert await good.future == FINDING
        with pytest.raises(CheckpointUnavailable):
            await bench.submit(BAD).future
        assert bench.process.done.count("+bad") == 1  # nobody retries at once, without a request
        with pytest.raises(CheckpointUnavailable):
            await bench.residency.load(BAD)
        assert bench.process.done.count("+bad") == 2

    play(scenario)


def test_the_one_used_longest_ago_makes_room(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        for key in (A, B, A, C):
            await bench.submit(key).future
        assert bench.process.loaded == {A, C}
        assert await bench.submit(B).future == FINDING  # evicted, and loaded again on demand
        assert bench.process.loaded == {B, C}
        prior = PriorLoad(7, Sharing.ALWAYS)  # so quick to warm up
        assert bench.process.priors == [None, None, None, prior]
        assert bench.metric("mambaad_model_evictions_total") == 2
        assert bench.metric("mambaad_model_memory_bytes", model="a", version="1") is None

    play(scenario, budget=200)


def test_more_checkpoints_than_fit_are_all_served_under_load(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        jobs = []
        for _ in range(20):
            jobs += [bench.submit(key) for key in (A, B, C)]
            await asyncio.sleep(0.002)
        assert await asyncio.gather(*(job.future for job in jobs)) == [FINDING] * 60

    play(scenario, budget=100)


def test_one_in_use_is_not_taken_from_its_images(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        await bench.submit(A).future
        used = [bench.submit(A) for _ in range(3)]
        other = bench.submit(B)
        answered = []
        for name, job in (("b", other), *(("a", job) for job in used)):
            job.future.add_done_callback(lambda _, name=name: answered.append(name))
        await asyncio.gather(other.future, *(job.future for job in used))
        assert answered == ["a", "a", "a", "b"]
        assert bench.process.done == ["+a", "-a", "+b"]

    play(scenario, budget=100)


def test_at_the_start_no_more_is_loaded_than_fits(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        assert len(bench.process.done) <= 4  # two that fit, one that does not, one that goes
        assert len(bench.process.loaded) == 2
        assert await bench.submit(A).future == FINDING

    play(scenario, wanted=(A, B, C, BAD), budget=200)


def test_unloading_waits_for_images_and_one_that_comes_loads_again(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        await bench.residency.load(A)
        before = bench.submit(A)
        unloading = asyncio.create_task(bench.residency.unload(A))
        await asyncio.sleep(0)
        after = bench.submit(A)
        await unloading
        assert before.future.done()
        assert await after.future == FINDING
        assert bench.process.done == ["+a", "-a", "+a"]
        await bench.residency.unload(B)  # which is not loaded

    play(scenario)


def test_a_load_asked_for_twice_at_once_is_done_once_and_again_later(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        bench.process.slow.clear()
        both = asyncio.gather(bench.residency.load(A), bench.residency.load(A))
        await asyncio.sleep(0.01)
        bench.process.slow.set()
        first, second = await both
        assert first == second
        await bench.residency.load(A)
        assert bench.process.done == ["+a", "+a"]

    play(scenario)


def test_a_fresh_process_gets_what_the_last_one_held(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        await bench.residency.load(B)
        await bench.residency.unload(A)
        bench.residency.detach()
        assert not bench.residency.residents
        with pytest.raises(NoWorkerReady, match="starting"):
            await bench.residency.load(A)
        waiting = bench.submit(C)
        bench.process = FakeProcess()
        await bench.residency.attach(bench.process)
        assert await waiting.future == FINDING
        assert bench.process.done == ["+b", "+c"]

    play(scenario, wanted=(A,))


def test_what_images_wait_for_is_loaded_first(play):
    async def scenario(bench):
        bench.submit(C)
        await bench.residency.attach(bench.process)
        assert bench.process.done == ["+c", "+a", "+b"]

    play(scenario, wanted=(A, B, C))


def test_a_checkpoint_that_kills_processes_is_left_out(play):
    async def scenario(bench):
        for _ in range(2):
            bench.process.dies = True
            with pytest.raises(ProcessDied):
                await bench.residency.attach(bench.process)
            bench.residency.detach()
            bench.process = FakeProcess()
        assert list(await bench.residency.attach(bench.process)) == [A]
        assert bench.process.loaded == {B}
        await bench.residency.load(A)
        assert bench.process.loaded == {A, B}

    play(scenario, wanted=(A, B))


def test_a_process_that_dies_while_loading_says_so(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        bench.process.dies = True
        with pytest.raises(CheckpointUnavailable, match="worker cpu: its process has ended"):
            await bench.residency.load(A)

    play(scenario)


def test_a_load_that_its_worker_breaks_off_is_answered(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        bench.process.slow.clear()
        loading = [asyncio.create_task(bench.residency.load(key)) for key in (A, B)]
        await asyncio.sleep(0.01)
        bench.residency.detach()  # for example after a late batch; none of these loads has failed
        for load in loading:
            with pytest.raises(CheckpointUnavailable, match="worker cpu: its process has ended"):
                await load

    play(scenario)


def test_what_was_unloaded_during_the_start_is_not_loaded_by_it(play):
    async def scenario(bench):
        bench.process.slow.clear()
        starting = asyncio.create_task(bench.residency.attach(bench.process))
        await asyncio.sleep(0.01)
        unloading = asyncio.create_task(bench.residency.unload(B))
        await asyncio.sleep(0.01)
        bench.process.slow.set()
        await asyncio.gather(starting, unloading)
        assert bench.process.done == ["+a"]

    play(scenario, wanted=(A, B))


@pytest.mark.parametrize("leaves", ["evicted", "unloaded"])
def test_a_start_waits_for_no_image_since_none_is_computed_yet(metrics, leaves):
    async def scenario():
        bench = Bench(metrics, wanted=(A, B), budget=300 if leaves == "evicted" else None)
        bench.process.weighs = 200  # each has its own encoder, which nobody expects
        jobs = [bench.submit(A), bench.submit(B)]
        starting = asyncio.create_task(bench.residency.attach(bench.process))
        async with asyncio.timeout(5):
            while not bench.residency.residents:
                await asyncio.sleep(0)
            if leaves == "unloaded":
                await bench.residency.unload(A)
            await starting  # nobody serves until then
            serving = asyncio.create_task(bench.serve())
            assert [await job.future for job in jobs] == [FINDING] * 2
        serving.cancel()

    asyncio.run(scenario())


def test_one_that_is_kept_makes_room_last(play):
    async def scenario(bench):
        await bench.residency.attach(bench.process)
        table = bench.residency.table
        for key in (A, B):
            await bench.residency.load(key)
        table.kept = frozenset({A})
        assert not table.has_room(table.expected_bytes(C))
        assert table.fits_beside_kept(C)
        await bench.residency.load(C)
        assert set(table) == {A, C}
        table.kept = frozenset({A, C})
        assert not table.fits_beside_kept(B)
        await bench.residency.load(B)
        assert B in table

    play(scenario, budget=200)

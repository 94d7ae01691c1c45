"""Supervision: a worker's reaction when its process answers badly, late or not at all."""

import asyncio

import numpy as np
import pytest

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import Decision, ImageSize
from service.errors import InspectionFailed, WorkerLost
from service.workers import worker as worker_module
from service.workers.batcher import Batcher, QueueLimits
from service.workers.jobs import Job
from service.workers.latency import Latencies
from service.workers.pipe.messages import (
    BatchReply,
    Failure,
    FailureKind,
    Finding,
    Item,
    LoadReply,
    LoadReport,
    Sharing,
    UnloadReply,
    WorkerPlan,
    WorkerStats,
)
from service.workers.process import ProcessDied, WorkerProcess
from service.workers.protocol import WorkerState
from service.workers.residency import Residency
from service.workers.residents import ResidencyLimits
from service.workers.spare import Handover
from service.workers.supervision import Supervision
from service.workers.worker import Worker

A, B = CheckpointKey("a", "1"), CheckpointKey("b", "1")
NORMAL = Calibration(
    image_threshold=1.0,
    pixel_threshold=1.0,
    image_scale=1.0,
    pixel_scale=1.0,
    alpha=0.01,
    good_images=150,
)
FINDING = Finding(Decision.OK, 0.1, 0.2, 0.3, (), {})
STATS = WorkerStats(1000, 100, 1, 0.25)
STALE = LoadReply(0, LoadReport(100, 0.5), STATS)
"""The spare's reply for a checkpoint that the worker has unloaded since."""


class FakeProcess:
    """Answers as scripted, or dies."""

    made: list["FakeProcess"] = []  # noqa: RUF012
    damaged: list[str] = []  # noqa: RUF012
    pid = 42

    def __init__(self, plan):
        self.death = asyncio.get_running_loop().create_future()
        self.timeouts, self.unloaded = [], []
        self.computing, self.gate = [], None
        self.answer = lambda batch: BatchReply(0, (FINDING,) * len(batch.jobs), STATS)
        self.made.append(self)

    async def start(self, timeout_s):
        pass

    async def load(self, key, timeout_s, prior=None):
        if self.damaged:
            self.damaged.pop()
            return LoadReply(0, "cannot read network.safetensors", STATS)
        report = LoadReport(100, 0.5, sharing=Sharing.NEVER)
        return LoadReply(0, report, STATS, {1: 2.0, 2: 4.0})

    async def unload(self, key, timeout_s):
        self.unloaded.append(key)
        return UnloadReply(0, STATS)

    async def compute(self, batch, timeout_s):
        self.timeouts.append(timeout_s)
        self.computing.append(batch)
        if self.gate:
            await asyncio.wait({self.gate, self.death}, return_when=asyncio.FIRST_COMPLETED)
            if self.death.done():
                raise ProcessDied(self.death.result())
        return self.answer(batch)

    async def wait_dead(self):
        return await asyncio.shield(self.death)

    async def watch(self, silence_s):
        await asyncio.Event().wait()

    async def stop(self, grace_s):
        pass


@pytest.fixture
def play(metrics, monkeypatch):
    monkeypatch.setattr(worker_module, "WorkerProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "made", [])

    def run(scenario, lanes=1, spare=None, backoff_s=0.01):
        async def scene():
            reports, latencies = [], Latencies(4, 1.0)
            batcher = Batcher("cpu", QueueLimits(0.0, 8), latencies, metrics, lanes)
            limits = ResidencyLimits(None, 10)
            residency = Residency("cpu", (A,), limits, batcher, latencies, metrics)
            supervision = Supervision(
                10, 120, backoff_s, 2 * backoff_s, 1, min_batch_timeout_s=5, reload_s=0.01
            )
            worker = Worker(
                WorkerPlan("cpu", "cpu", "auto", lanes, None, "INFO", lanes=lanes),
                batcher, residency, latencies, supervision, metrics,
                lambda _, refused: reports.append(dict(refused)), lambda _: None, spare,
            )  # fmt: skip
            worker.reports = reports
            running = asyncio.create_task(worker.run())
            async with asyncio.timeout(20):
                while not worker.is_ready:
                    await asyncio.sleep(0)
                await scenario(worker)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert worker.state is WorkerState.STOPPED

        asyncio.run(scene())

    return run


class FakeSpare:
    """Gives processes away that have loaded a checkpoint, once one has been started."""

    is_ready = False

    def claim(self):
        if not self.is_ready:
            return None
        report = LoadReport(100, 50.0, sharing=Sharing.IDLE)
        return Handover(FakeProcess(None), {A: LoadReply(0, report, STATS), B: STALE})

    def note_change(self):
        pass


def submit(worker):
    loop = asyncio.get_running_loop()
    item = Item("bolt", ImageSize(8, 8), False, NORMAL)
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    now = loop.time()
    job = Job(A, item, pixels, now + 60, loop.create_future(), now)
    worker.submit(job)
    return job


def test_a_batch_is_answered_and_what_it_took_is_remembered(play, metrics):
    async def scenario(worker):
        jobs = [submit(worker), submit(worker)]
        assert [await job.future for job in jobs] == [FINDING, FINDING]
        assert FakeProcess.made[0].timeouts == [40.0]  # ten times the measured 4 s
        assert worker._latencies.line(A).seconds(2) < 4
        assert worker.residency.residents[A].last_used >= jobs[0].taken_at
        assert metrics.registry.get_sample_value(
            "mambaad_compute_seconds_total", {"worker": "cpu"}
        ) == pytest.approx(0.5)  # loading and computing

    play(scenario)


def test_a_batch_that_was_split_teaches_a_limit_and_no_time(play, metrics):
    async def scenario(worker):
        FakeProcess.made[0].answer = lambda batch: BatchReply(
            0,
            (FINDING, Failure(FailureKind.FAILED)),
            STATS,
            split="out-of-memory",
            batch_limit=1,
        )
        before = worker._latencies.line(A)
        good, bad = submit(worker), submit(worker)
        assert await good.future == FINDING
        with pytest.raises(InspectionFailed):
            await bad.future
        assert worker._latencies.line(A) == before
        assert worker._latencies.limit(A) == 1
        assert worker.is_ready
        labels = {"worker": "cpu", "reason": "out-of-memory"}
        assert metrics.registry.get_sample_value("mambaad_batches_split_total", labels) == 1

    play(scenario)


def test_a_death_is_answered_and_the_rest_computed_by_the_next_process(play):
    async def scenario(worker):
        def die(batch):
            FakeProcess.made[0].death.set_result("its process exited with code -9")
            raise ProcessDied("its process exited with code -9")

        FakeProcess.made[0].answer = die
        lost = [submit(worker) for _ in range(4)]
        remaining = submit(worker)
        errors = await asyncio.gather(*(job.future for job in lost), return_exceptions=True)
        assert [type(error) for error in errors] == [WorkerLost] * 4
        assert await remaining.future == FINDING
        assert len(FakeProcess.made) == 2
        assert worker.is_ready

    play(scenario)


def test_a_process_that_dies_idle_is_replaced(play):
    async def scenario(worker):
        FakeProcess.made[0].death.set_result("its process was killed: no heartbeat")
        while len(FakeProcess.made) < 2 or not worker.is_ready:
            await asyncio.sleep(0.001)
        assert await submit(worker).future == FINDING

    play(scenario)


def test_without_memory_for_a_batch_the_worker_lives_on(play):
    async def scenario(worker):
        def refuse(batch):
            raise OSError(12, "Cannot allocate memory")

        answer, FakeProcess.made[0].answer = FakeProcess.made[0].answer, refuse
        with pytest.raises(InspectionFailed, match="sent to the worker"):
            await submit(worker).future
        FakeProcess.made[0].answer = answer
        assert await submit(worker).future == FINDING
        assert len(FakeProcess.made) == 1

    play(scenario)


def test_images_that_do_not_fit_together_fail_alone(play):
    async def scenario(worker):
        def refuse(batch):
            raise ValueError("all input arrays must have the same shape")

        answer, FakeProcess.made[0].answer = FakeProcess.made[0].answer, refuse
        with pytest.raises(InspectionFailed):
            await submit(worker).future
        FakeProcess.made[0].answer = answer
        assert await submit(worker).future == FINDING
        assert len(FakeProcess.made) == 1

    play(scenario)


def test_patience_follows_what_a_batch_should_take():
    patience = Supervision(1, 120, 1, 1, 1, min_batch_timeout_s=5, batch_patience=10)
    assert [patience.patience_s(expected) for expected in (0, 0.1, 2, 60)] == [120, 5, 20, 120]


def test_silence_is_told_by_missing_beats_and_not_by_the_clock():
    async def scenario():
        process = WorkerProcess(WorkerPlan("cpu", "cpu", "auto", 1, None, "INFO"))
        watching = asyncio.create_task(process.watch(0.1))
        for _ in range(30):
            process._beats += 1
            await asyncio.sleep(0.01)
        assert not watching.done()
        await asyncio.wait_for(watching, 10)
        assert "no heartbeat" in process._reason
        await process.stop(1)

    asyncio.run(scenario())


def test_a_batch_beside_a_load_is_given_the_time_of_its_warm_up_passes(play):
    async def scenario(worker):
        process, done = FakeProcess.made[0], asyncio.Event()
        load = process.load

        async def slow(*details):
            await done.wait()
            return await load(*details)

        process.load = slow
        loading = asyncio.create_task(worker.residency.load(CheckpointKey("b", "1")))
        await asyncio.sleep(0)
        await submit(worker).future
        done.set()
        await loading
        await submit(worker).future
        assert FakeProcess.made[0].timeouts == [120, 5]

    play(scenario)


@pytest.fixture
def disk_away(monkeypatch):
    monkeypatch.setattr(FakeProcess, "damaged", ["at the start", "and once more"])


def test_what_could_not_be_loaded_at_the_start_is_tried_again(disk_away, play):
    async def scenario(worker):
        assert worker.reports == [{A: "cannot read network.safetensors"}]
        while len(worker.reports) < 2:
            await asyncio.sleep(0.001)
        assert worker.reports[1] == {}
        assert await submit(worker).future == FINDING

    play(scenario)


async def fill_lanes(worker, count):
    """Submit jobs, and let both lanes of the first process hold theirs."""
    process = FakeProcess.made[0]
    process.gate = asyncio.get_running_loop().create_future()
    jobs = [submit(worker) for _ in range(count)]
    while len(process.computing) < 2:
        await asyncio.sleep(0)
    return process, jobs


def test_each_lane_has_a_batch_of_its_own(play):
    async def scenario(worker):
        process, jobs = await fill_lanes(worker, 3)
        assert [len(batch.jobs) for batch in process.computing] == [2, 1]
        process.gate.set_result(None)
        assert [await job.future for job in jobs] == [FINDING] * 3

    play(scenario, lanes=2)


def test_a_death_is_answered_in_every_lane_and_the_next_process_has_them_all(play):
    async def scenario(worker):
        process, lost = await fill_lanes(worker, 2)
        process.death.set_result("its process exited with code -9")
        for job in lost:
            with pytest.raises(WorkerLost):
                await job.future
        later = [submit(worker) for _ in range(2)]
        assert [await job.future for job in later] == [FINDING] * 2
        assert len(FakeProcess.made) == 2

    play(scenario, lanes=2)


async def turns(count=50):
    """Let every task run until it waits."""
    for _ in range(count):
        await asyncio.sleep(0)


async def hand_ahead(worker, count, lanes=1):
    """Let every lane hold a batch of the first process, and hand over `count` more jobs."""
    worker._latencies.learn(A, {1: 0.5})
    process = FakeProcess.made[0]
    process.gate = asyncio.get_running_loop().create_future()
    running = [submit(worker) for _ in range(lanes)]
    await turns()
    assert len(process.computing) == lanes
    ahead = [submit(worker) for _ in range(count)]
    await turns()
    assert len(process.computing) == lanes  # half a second is far too early
    while sum(len(batch.jobs) for batch in process.computing) < lanes + count:
        await asyncio.sleep(0.01)
    return process, running, ahead


def test_the_next_batch_is_handed_over_shortly_before_the_last_should_end(play):
    async def scenario(worker):
        process, (running,), ahead = await hand_ahead(worker, 2)
        assert not running.future.done()
        assert process.timeouts == [5.0, 15.0]  # ten times 0.5 s; and of both, where one waits
        later = submit(worker)
        await asyncio.sleep(0.6)
        assert [len(batch.jobs) for batch in process.computing] == [1, 2]  # one ahead, not more
        process.gate.set_result(None)
        process.gate = None
        for job in (running, *ahead, later):
            assert await job.future == FINDING

    play(scenario)


async def wait_for_the_first(worker, later_s):
    """Hold a batch of some 50 ms, and submit another later: it is handed over afterwards."""
    worker._latencies.learn(A, {1: 0.05})
    process = FakeProcess.made[0]
    process.gate = asyncio.get_running_loop().create_future()
    first = submit(worker)
    await asyncio.sleep(later_s)
    second = submit(worker)
    await asyncio.sleep(0.2)
    assert len(process.computing) == 1
    process.gate.set_result(None)
    assert [await job.future for job in (first, second)] == [FINDING] * 2


def test_a_batch_that_nothing_is_known_about_is_waited_for(play, monkeypatch):
    async def scenario(worker):
        monkeypatch.setattr(Residency, "is_loading", property(lambda _: True))
        await wait_for_the_first(worker, later_s=0.01)

    play(scenario)


def test_a_process_that_is_overdue_is_given_no_more(play):
    async def scenario(worker):
        await wait_for_the_first(worker, later_s=0.3)

    play(scenario)


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_a_dead_process_had_not_begun_is_computed_by_the_next(lanes, play):
    async def scenario(worker):
        process, running, ahead = await hand_ahead(worker, 2, lanes)
        process.death.set_result("its process exited with code -9")
        errors = await asyncio.gather(*(job.future for job in running), return_exceptions=True)
        assert [type(error) for error in errors] == [WorkerLost] * lanes
        assert [await job.future for job in ahead] == [FINDING] * 2
        assert len(FakeProcess.made) == 2
        assert not worker._sent

    play(scenario, lanes)


def test_waiting_in_the_process_counts_as_waiting_and_not_as_the_batchs_time(play, metrics):
    async def scenario(worker):
        process = FakeProcess.made[0]
        process.answer = lambda batch: BatchReply(0, (FINDING,), STATS, waited_s=0.25)
        process.gate = asyncio.get_running_loop().create_future()
        job = submit(worker)
        await asyncio.sleep(0.5)
        process.gate.set_result(None)
        await job.future
        assert 250 <= job.queue_ms < 450

    play(scenario)
    labels = {"worker": "cpu"}
    took = metrics.registry.get_sample_value("mambaad_batch_duration_seconds_sum", labels)
    assert took == pytest.approx(0.25, abs=0.2)  # of half a second
    count = metrics.registry.get_sample_value("mambaad_batch_duration_seconds_count", labels)
    assert count == 1


def test_a_spare_takes_over_at_once_but_not_after_a_second_death_in_a_row(play, metrics):
    spare = FakeSpare()

    def value(name):
        return metrics.registry.get_sample_value(name, {"worker": "cpu"})

    async def scenario(worker):
        line, seconds = worker._latencies.line(A), worker.residents[A].loaded_s
        spare.is_ready = True
        FakeProcess.made[-1].death.set_result("its process exited with code -9")
        while len(FakeProcess.made) < 2 or not worker.is_ready:  # without the delay of 30 s
            await asyncio.sleep(0.001)
        assert set(worker.residents) == {A}
        assert worker._latencies.line(A) == line
        assert worker.residents[A].loaded_s == seconds  # not those at low priority
        while not FakeProcess.made[1].unloaded:
            await asyncio.sleep(0.001)
        assert FakeProcess.made[1].unloaded == [B]
        assert value("mambaad_worker_recovery_seconds_count") == 0
        assert await submit(worker).future == FINDING
        assert value("mambaad_worker_recovery_seconds_count") == 1
        for number in (1, 2):  # the second time, without a batch in between
            FakeProcess.made[number].death.set_result("its process exited with code -11")
            if number == 1:  # ready again at once: nothing can be seen of the time between
                while len(FakeProcess.made) < 3 or not worker.is_ready:
                    await asyncio.sleep(0.001)
            else:
                while worker.state is WorkerState.READY:
                    await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert worker.state is WorkerState.RESTARTING
        assert worker.expected_in_s > 20
        assert value("mambaad_worker_takeovers_total") == 2

    play(scenario, spare=spare, backoff_s=30)

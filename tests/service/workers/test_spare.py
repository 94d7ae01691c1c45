"""The spare: in accord with the workers, given away once, absent without memory."""

import asyncio
import logging

import pytest

from model.checkpoints.key import CheckpointKey
from service.workers import spare as spare_module
from service.workers.pipe.messages import (
    LoadReply,
    LoadReport,
    PriorLoad,
    Resident,
    Sharing,
    UnloadReply,
    WorkerPlan,
    WorkerStats,
)
from service.workers.process import ProcessDied
from service.workers.protocol import SpareState
from service.workers.spare import Spare
from service.workers.supervision import Supervision

A, B, C = (CheckpointKey(name, "1") for name in ("a", "b", "c"))
PRIOR = PriorLoad(4, Sharing.NEVER)


class FakeProcess:
    """Loads everything, 100 bytes each; dies while loading `deadly`, refuses `damaged`."""

    made: list["FakeProcess"] = []  # noqa: RUF012
    deadly: CheckpointKey | None = None
    damaged: CheckpointKey | None = None

    def __init__(self, plan):
        self.death = asyncio.get_running_loop().create_future()
        self.done, self.loaded = [], set()
        self.took_over = self.stopped = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.made.append(self)

    def stats(self):
        return WorkerStats(1000, 100 * len(self.loaded))

    async def start(self, timeout_s):
        await asyncio.sleep(0)

    async def load(self, key, timeout_s, prior):
        assert prior == PRIOR
        self.done.append(f"+{key.name}")
        await self.gate.wait()
        if key == self.deadly:
            raise ProcessDied("its process exited with code -11")
        if key == self.damaged:
            return LoadReply(0, "its sha256 is wrong", self.stats())
        self.loaded.add(key)
        return LoadReply(0, LoadReport(100, 0.5), self.stats())

    async def unload(self, key, timeout_s):
        self.done.append(f"-{key.name}")
        self.loaded.discard(key)
        return UnloadReply(0, self.stats())

    def take_over(self):
        self.took_over = True

    async def wait_dead(self):
        return await asyncio.shield(self.death)

    async def watch(self, silence_s):
        await asyncio.Event().wait()

    async def stop(self, grace_s):
        assert grace_s == 0.0  # nobody waits for a spare
        self.stopped = True


class FakeWorker:
    """A worker at rest with some checkpoints of 100 bytes."""

    is_at_rest = True
    stats = WorkerStats(600 * 2**20)

    def __init__(self, *keys):
        self.residents = {key: Resident(100, 0.5, 0.0, None) for key in keys}

    def keeps(self, key):
        return key in self.residents

    def prior(self, key):
        return PRIOR


class Bench:
    def __init__(self, spare, workers, metrics):
        self.spare, self.workers, self.metrics = spare, workers, metrics

    @property
    def processes(self):
        return FakeProcess.made

    async def reach(self, state):
        while self.spare.status.state is not state:
            await asyncio.sleep(0.001)

    def change(self, *keys):
        self.workers[0].residents = {key: Resident(100, 0.5, 0.0, None) for key in keys}
        self.spare.note_change()

    def states(self):
        name = "mambaad_spare_state"
        value = self.metrics.registry.get_sample_value
        return [state.value for state in SpareState if value(name, {"state": state.value})]


@pytest.fixture
def free(monkeypatch):
    """The free memory, in a list of one number."""
    amount = [8 * 2**30]
    monkeypatch.setattr(spare_module, "free_bytes", lambda: amount[0])
    monkeypatch.setattr(spare_module, "reserve_bytes", lambda: 256 * 2**20)
    monkeypatch.setattr(spare_module, "_CHECK_MEMORY_S", 0.01)
    return amount


@pytest.fixture
def play(metrics, monkeypatch, free):
    monkeypatch.setattr(spare_module, "WorkerProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "made", [])
    monkeypatch.setattr(Spare, "settle_s", 0.0)

    def run(scenario, *workers, forced=False, budget=None):
        async def scene():
            plan = WorkerPlan("spare", "cpu", "auto", 1, None, "INFO", is_spare=True)
            supervision = Supervision(10, 120, 0.01, 0.02, 1)
            spare = Spare(plan, supervision, metrics, forced=forced, budget_bytes=budget)
            running = asyncio.create_task(spare.run(workers))
            async with asyncio.timeout(20):
                await scenario(Bench(spare, workers, metrics))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert spare.status.state is SpareState.OFF
            assert all(process.stopped or process.took_over for process in FakeProcess.made)

        asyncio.run(scene())

    return run


def test_it_loads_and_unloads_as_the_workers_do(play):
    async def scenario(bench):
        await bench.reach(SpareState.READY)
        (process,) = bench.processes
        assert process.done == ["+a", "+b"]
        assert bench.states() == ["ready"]
        bench.change(B, C)
        while process.loaded != {B, C}:
            await asyncio.sleep(0.001)
        assert process.done[2:] == ["-a", "+c"]
        await bench.reach(SpareState.READY)
        bench.spare.refresh(B)  # the workers have loaded it again
        assert set(bench.spare.claim().loaded) == {C}

    play(scenario, FakeWorker(A), FakeWorker(B))


def test_it_is_given_away_once_and_another_one_follows(play):
    async def scenario(bench):
        assert bench.spare.claim() is None  # it has not started
        await bench.reach(SpareState.READY)
        handover = bench.spare.claim()
        first = bench.processes[0]
        assert handover.process is first
        assert first.took_over
        assert set(handover.loaded) == {A}
        assert bench.spare.claim() is None
        await bench.reach(SpareState.READY)
        assert len(bench.processes) == 2
        assert not first.stopped

    play(scenario, FakeWorker(A))


def test_it_takes_over_while_it_loads_another_checkpoint(play):
    async def scenario(bench):
        await bench.reach(SpareState.READY)
        process = bench.processes[0]
        process.gate.clear()
        bench.change(A, B)
        while "+b" not in process.done:
            await asyncio.sleep(0.001)
        assert set(bench.spare.claim().loaded) == {A}
        assert process.took_over

    play(scenario, FakeWorker(A))


def test_it_waits_until_the_workers_are_at_rest(play):
    async def scenario(bench):
        await asyncio.sleep(0.02)
        assert not bench.processes
        bench.workers[0].is_at_rest = True
        bench.spare.note_change()
        await bench.reach(SpareState.READY)

    worker = FakeWorker(A)
    worker.is_at_rest = False
    play(scenario, worker)


def test_a_spare_that_dies_is_replaced(play):
    async def scenario(bench):
        await bench.reach(SpareState.READY)
        bench.processes[0].death.set_result("its process exited with code -9")
        while len(bench.processes) < 2:
            await asyncio.sleep(0.001)
        await bench.reach(SpareState.READY)
        assert bench.processes[0].stopped

    play(scenario, FakeWorker(A))


def test_checkpoints_that_kill_it_or_are_damaged_are_left_out(play, monkeypatch, caplog):
    monkeypatch.setattr(FakeProcess, "deadly", B)
    monkeypatch.setattr(FakeProcess, "damaged", C)

    async def scenario(bench):
        await bench.reach(SpareState.READY)
        assert len(bench.processes) == 3
        assert set(bench.spare.claim().loaded) == {A}

    with caplog.at_level(logging.WARNING, "service.spare"):
        play(scenario, FakeWorker(A, B, C))
    assert "cannot load checkpoint c/1: its sha256 is wrong" in caplog.text


def test_it_holds_no_more_weights_than_a_worker_may(play):
    async def scenario(bench):
        await bench.reach(SpareState.READY)
        assert bench.processes[0].done == ["+a", "+b"]

    play(scenario, FakeWorker(A, B), FakeWorker(C), budget=250)


def test_without_memory_there_is_none_and_it_ends_when_memory_runs_out(play, free, caplog):
    async def scenario(bench):
        await bench.reach(SpareState.NO_MEMORY)
        assert not bench.processes
        assert bench.spare.status.reason == "700 MB of memory are free, and it needs 856 MB"
        assert bench.states() == ["no-memory"]
        free[0] = 900 * 2**20
        await bench.reach(SpareState.READY)
        free[0] = 100 * 2**20
        await bench.reach(SpareState.NO_MEMORY)
        assert bench.processes[0].stopped
        assert bench.spare.claim() is None

    free[0] = 700 * 2**20
    play(scenario, FakeWorker(A))
    assert caplog.text.count("there is no spare worker") == 2


def test_it_may_be_forced_without_memory(play, free):
    async def scenario(bench):
        await bench.reach(SpareState.READY)

    free[0] = 0
    play(scenario, FakeWorker(A), forced=True)


def test_without_a_known_amount_of_free_memory_there_is_none(play, free):
    async def scenario(bench):
        await bench.reach(SpareState.NO_MEMORY)
        assert "does not say" in bench.spare.status.reason

    free[0] = None
    play(scenario, FakeWorker(A))

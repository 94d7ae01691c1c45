"""Which worker takes a job, by the workers' reports alone: no Ray, no process."""

import asyncio
import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.inspection import ImageSize
from service.cluster.messages import JobCounts, Reported, Roster, WorkerReport
from service.cluster.placement import ranked
from service.cluster.plan import plan_of
from service.cluster.pool import ClusterPool
from service.errors import DeadlineExceeded, NoWorkerReady, QueueFull, WorkerLost
from service.settings import ClusterSettings, Settings, WorkerSettings
from service.telemetry.metrics import Metrics
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import Item, LatencyLine, Resident
from service.workers.protocol import WorkerState

KEY = CheckpointKey("parts", "1")
NAMES = ("cpu/0", "cpu/1")
SETTINGS = Settings(
    workers=WorkerSettings(max_queue_size=4, max_queue_bytes=10**6),
    cluster=ClusterSettings(address="auto"),
)


def resident(image_s: float = 1.0, loaded_s: float = 3.0) -> Resident:
    return Resident(1, loaded_s, 0.0, LatencyLine(image_s, 0.0))


def report(name: str, *keys: CheckpointKey, waiting: int = 0, image_s: float = 1.0) -> Reported:
    counts = JobCounts({KEY: waiting}, {(KEY, Priority.NORMAL): waiting})
    residents = {key: resident(image_s) for key in keys}
    return Reported(
        name,
        WorkerReport(
            "1", "node", WorkerState.READY, "ready", has_begun=True,
            counts={"another service": counts}, residents=residents, limits=dict.fromkeys(keys, 1),
        ),
    )  # fmt: skip


def pool_with(*reports: Reported, refused: dict | None = None) -> ClusterPool:
    refused = {} if refused is None else refused
    pool = ClusterPool(SETTINGS, lambda: (KEY,), Metrics(CollectorRegistry()), refused.__setitem__)
    pool._take_news(Roster(tuple(one.worker for one in reports), {"node": "press-1"}))
    for one in reports:
        pool._take_news(one)
    return pool


def chosen(pool: ClusterPool, deadline_s: float = 1000.0, key: CheckpointKey = KEY) -> str:
    deadline = asyncio.get_running_loop().time() + deadline_s
    return pool._choice.worker_for(key, deadline, Priority.NORMAL, 100).name


def in_loop(test):
    def run():
        async def scenario():
            test()

        asyncio.run(scenario())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@in_loop
def test_the_worker_with_the_shorter_queue_takes_the_job():
    assert (
        chosen(pool_with(report("cpu/0", KEY, waiting=3), report("cpu/1", KEY, waiting=1)))
        == "cpu/1"
    )
    assert (
        chosen(pool_with(report("cpu/0", KEY, waiting=1), report("cpu/1", KEY, waiting=3)))
        == "cpu/0"
    )


@in_loop
def test_a_faster_worker_takes_more():
    slow, fast = report("cpu/0", KEY, image_s=5.0), report("cpu/1", KEY, waiting=3)
    assert chosen(pool_with(slow, fast)) == "cpu/1"


@in_loop
def test_a_checkpoint_spreads_when_its_queue_is_longer_than_a_load():
    other = CheckpointKey("others", "1")
    assert chosen(pool_with(report("cpu/0", KEY, waiting=1), report("cpu/1", other))) == "cpu/0"
    assert chosen(pool_with(report("cpu/0", KEY, waiting=5), report("cpu/1", other))) == "cpu/1"


@in_loop
def test_a_checkpoint_that_none_has_loaded_goes_where_it_prefers():
    nothing = [report(name) for name in NAMES]
    for number in range(20):
        key = CheckpointKey("parts", str(number))
        assert chosen(pool_with(*nothing), key=key) == ranked(key, NAMES)[0]


@in_loop
def test_full_queues_refuse_at_once():
    full = pool_with(*(report(name, KEY, waiting=6) for name in NAMES))
    with pytest.raises(QueueFull) as refused:
        full.admit(KEY, math.inf, Priority.NORMAL, 100)
    assert refused.value.retry_after_s >= 6
    pool_with(*(report(name, KEY, waiting=5) for name in NAMES)).admit(
        KEY, math.inf, Priority.NORMAL, 100
    )


@in_loop
def test_a_job_that_would_be_late_is_refused():
    pool = pool_with(report("cpu/0", KEY, waiting=3))
    assert chosen(pool, deadline_s=3.5) == "cpu/0"
    with pytest.raises(DeadlineExceeded):
        chosen(pool, deadline_s=2.5)


@in_loop
def test_a_lost_worker_gets_no_job_and_one_ready_worker_is_enough():
    refused: dict = {}
    pool = pool_with(*(report(name, KEY) for name in NAMES), refused=refused)
    assert refused == {"cpu/0": {}, "cpu/1": {}}
    pool._take_news(Reported("cpu/0", None, "the actor died"))
    assert (chosen(pool), pool.unready()) == ("cpu/1", [])
    assert [status.node for status in pool.status()] == ["press-1", "press-1"]
    pool._take_news(Reported("cpu/1", None, "the actor died"))
    with pytest.raises(NoWorkerReady):
        chosen(pool)
    assert [worker.name for worker in pool.unready()] == ["cpu/0", "cpu/1"]
    pool._take_news(report("cpu/1", KEY))
    assert chosen(pool) == "cpu/1"


@in_loop
def test_without_any_worker_the_service_is_not_ready():
    pool = pool_with()
    assert pool.unready()
    assert pool.status()[0].state is WorkerState.STARTING
    with pytest.raises(NoWorkerReady):
        pool.admit(KEY, math.inf, Priority.NORMAL, 0)


def test_a_job_without_a_bridge_fails_and_is_forgotten():
    async def scenario():
        pool = pool_with(report("cpu/0", KEY))
        loop = asyncio.get_running_loop()
        calibration = Calibration(1.0, 1.0, 1.0, 1.0, 0.01, 150)
        item = Item("bolt", ImageSize(8, 8), False, calibration)
        pixels = np.zeros((1, 3, 8, 8), np.uint8)
        job = Job(KEY, item, pixels, math.inf, loop.create_future(), loop.time())
        pool.submit(job)
        assert pool._views["cpu/0"].jobs == {job}
        with pytest.raises(WorkerLost, match="not inspected"):
            await job.future
        while pool._carrying:
            await asyncio.sleep(0)
        assert (pool._choice.queued_bytes, pool._views["cpu/0"].jobs) == (0, set())

    asyncio.run(scenario())


def test_a_plan_has_another_name_for_other_workers_alone():
    name = plan_of(SETTINGS).name
    silent = SETTINGS.cluster.model_copy(update={"silence_s": 9.0, "address": "head:6379"})
    assert plan_of(SETTINGS.model_copy(update={"cluster": silent})).name == name
    more = SETTINGS.workers.model_copy(update={"max_queue_size": 5})
    assert plan_of(SETTINGS.model_copy(update={"workers": more})).name != name


@in_loop
def test_a_worker_that_leaves_gets_jobs_only_if_no_other_is_ready():
    pool = pool_with(report("cpu/0", KEY), report("cpu/1", KEY, waiting=3))
    pool._take_news(Roster(NAMES, leaving=("cpu/0",)))
    assert chosen(pool) == "cpu/1"
    assert "drained" in pool.status()[0].reason
    pool._take_news(Reported("cpu/1", None, "it has died"))
    assert chosen(pool) == "cpu/0"


@in_loop
def test_after_a_loss_of_the_cluster_workers_are_ready_once_they_report_again():
    pool = pool_with(report("cpu/0", KEY))
    pool._bridge.problem = "Ray on this machine has ended"
    pool._take_news(None)
    (status,) = pool.unready()
    assert status.reason == "the cluster cannot be reached: Ray on this machine has ended"
    pool._abandon(pool._views["cpu/0"])
    assert "Ray on this machine" in pool.status()[0].reason, "the first reason stays"
    with pytest.raises(NoWorkerReady, match="Ray on this machine has ended"):
        chosen(pool)
    pool._bridge.problem = ""
    pool._take_news(Roster(("cpu/0",)))
    (status,) = pool.unready()
    assert "no report" in status.reason
    pool._take_news(report("cpu/0", KEY))
    assert chosen(pool) == "cpu/0"

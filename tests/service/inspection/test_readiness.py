"""When the service is ready, and its reasons if it is not."""

import asyncio

import pytest

from model.checkpoints.store import Store
from service.inspection.readiness import ReadinessCheck
from service.shutdown import Shutdown
from service.versions.registry import Registry
from service.workers.protocol import WorkerState, WorkerStatus


class FakeWorkers:
    """Workers of given names, some of them ready."""

    def __init__(self, *names):
        self.names = names
        self.ready = set()
        self.changed = asyncio.Event()

    def status(self):
        return [
            WorkerStatus(
                name,
                WorkerState.READY if name in self.ready else WorkerState.RESTARTING,
                "test",
                0,
            )
            for name in self.names
        ]

    def unready(self):
        return [worker for worker in self.status() if worker.state is not WorkerState.READY]

    async def wait_change(self):
        self.changed.clear()
        await self.changed.wait()


@pytest.fixture
def registry(weights, metrics):
    return Registry(Store(weights), metrics)


def test_ready_means_every_worker_and_something_to_serve(registry, metrics, tmp_path):
    workers = FakeWorkers("cpu", "cuda:0", "cuda:1")
    readiness = ReadinessCheck(workers, registry, Shutdown())
    workers.ready = {"cpu", "cuda:0"}
    assert readiness().reasons == ("worker cuda:1 is restarting: test",)
    workers.ready = {"cpu", "cuda:0", "cuda:1"}
    assert readiness().ready
    empty = ReadinessCheck(workers, Registry(Store(tmp_path), metrics), Shutdown())
    assert empty().reasons == ("no checkpoint in the store can serve",)


def test_a_service_that_refuses_every_part_is_not_ready(registry):
    refusals = [None, "the journal cannot be written"]
    readiness = ReadinessCheck(FakeWorkers(), registry, Shutdown(), lambda: refusals[-1])
    assert readiness().reasons == ("the journal cannot be written",)
    refusals.pop()
    assert readiness().ready


def test_a_service_that_leaves_is_not_ready(registry):
    shutdown = Shutdown()
    workers = FakeWorkers()
    shutdown.begin()
    assert ReadinessCheck(workers, registry, shutdown)().reasons == (
        "the service is shutting down",
    )


def test_it_waits_until_every_worker_is_ready(registry):
    async def scenario():
        workers = FakeWorkers("cpu", "cuda:0")
        waiting = asyncio.create_task(ReadinessCheck(workers, registry, Shutdown()).wait())
        for name in workers.names:
            await asyncio.sleep(0)
            assert not waiting.done()
            workers.ready.add(name)
            workers.changed.set()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(scenario())

"""A cancelled lane loses nothing; all lanes are cancelled when the worker's process dies."""

import asyncio

import pytest

from service.workers.lane import Lane


class FakeBatcher:
    """Has one batch, once the test releases it."""

    def __init__(self):
        self.came = asyncio.Event()
        self.has_gone = False
        self.back, self.finished = [], []

    async def next_batch(self):
        await self.came.wait()
        self.has_gone = True
        return "batch"

    def take_back(self, batch):
        self.back.append(batch)

    def finish(self, batch):
        self.finished.append(batch)


def cancelled_when(is_time):
    """Cancel a lane as soon as `is_time` accepts its batcher; return the batcher."""

    async def scene():
        batcher, death = FakeBatcher(), asyncio.get_running_loop().create_future()
        lane = Lane(batcher, lambda batch: 0.0, lambda batch: pytest.fail("computed"))
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(lane.serve(death, tasks))
            await asyncio.sleep(0.01)
            while not is_time(batcher):
                batcher.came.set()
                await asyncio.sleep(0)
            serving.cancel()
        return batcher

    return asyncio.run(scene())


def test_a_batch_that_came_in_the_moment_of_the_end_waits_again():
    batcher = cancelled_when(lambda batcher: batcher.has_gone)
    assert batcher.back == batcher.finished == ["batch"]


def test_without_a_batch_there_is_nothing_to_give_back():
    batcher = cancelled_when(lambda _: True)
    assert not batcher.has_gone
    assert batcher.back == []

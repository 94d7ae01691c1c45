"""Calls in threads: what the event loop gets from them, and when."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.inspection.threads import Threads


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_result_and_an_error_arrive_and_each_call_ends_once(pool):
    ended = []

    async def scenario():
        threads = Threads(pool)
        assert await threads.start(lambda: 7, lambda: ended.append("good")) == 7
        with pytest.raises(ZeroDivisionError):
            await threads.start(lambda: 1 // 0, lambda: ended.append("bad"))

    asyncio.run(scenario())
    assert ended == ["good", "bad"]


def test_a_call_runs_in_a_thread_and_ends_on_the_loop(pool):
    async def scenario():
        ended = asyncio.get_running_loop().create_future()
        ran = await Threads(pool).start(
            threading.get_ident, lambda: ended.set_result(threading.get_ident())
        )
        assert await ended == threading.get_ident() != ran

    asyncio.run(scenario())


def test_what_nobody_waits_for_any_more_is_not_computed_but_ends(pool):
    computed, ended = [], []

    async def scenario():
        threads, hold = Threads(pool), threading.Event()
        running = threads.start(hold.wait, lambda: ended.append("running"))
        waiting = threads.start(lambda: computed.append(1), lambda: ended.append("waiting"))
        running.cancel()
        waiting.cancel()
        hold.set()
        await threads.start(lambda: None, lambda: None)

    asyncio.run(scenario())
    assert ended == ["running", "waiting"]
    assert computed == []


def test_a_call_may_outlive_its_loop(pool):
    hold = threading.Event()

    async def scenario():
        Threads(pool).start(hold.wait, lambda: None)

    asyncio.run(scenario())
    hold.set()
    assert pool.submit(lambda: "alive").result() == "alive"

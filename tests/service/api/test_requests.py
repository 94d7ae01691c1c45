"""A client that leaves before its answer."""

import asyncio
import functools

import pytest

from service.api import requests
from service.api.requests import unless_client_leaves
from service.errors import ClientGone

LONG_S = 60.0


def in_a_loop(test):
    """Return the test as a function that pytest can call."""
    return functools.wraps(test)(lambda: asyncio.run(test()))


class Client:
    """Stands for a request; `leave` closes the connection."""

    def __init__(self) -> None:
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, str]:
        await self._left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def watched_at_once(monkeypatch):
    monkeypatch.setattr(requests, "_UNWATCHED_S", 0.0)


@in_a_loop
async def test_the_work_is_cancelled_when_its_client_leaves():
    client, cancelled = Client(), asyncio.Event()

    async def work() -> None:
        client.leave()
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(ClientGone):
        await unless_client_leaves(client, work())
    assert cancelled.is_set()
    assert asyncio.current_task().cancelling() == 0


@in_a_loop
async def test_a_client_that_leaves_with_its_answer_cancels_nothing_more():
    client = Client()

    async def work() -> str:
        await asyncio.sleep(0.01)  # the watch has begun
        client.leave()
        return "OK"

    assert await unless_client_leaves(client, work()) == "OK"
    await asyncio.sleep(0.01)
    assert asyncio.current_task().cancelling() == 0


@in_a_loop
async def test_a_cancelled_request_is_not_one_whose_client_has_left():
    async def waiting() -> None:
        await unless_client_leaves(Client(), asyncio.sleep(LONG_S))

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@in_a_loop
async def test_an_error_of_the_work_is_its_own():
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("not ours")

    with pytest.raises(ValueError, match="not ours"):
        await unless_client_leaves(Client(), work())

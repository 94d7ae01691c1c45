"""Clients of Live's stream, in a process of their own: when each part came to each of them."""

import asyncio
import json
import multiprocessing
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any

import httpx

PARTS = re.compile(r'data-part="([0-9a-f-]+)"')
_EVENTS = "/console/live/events"
_START_S = 60.0
_LAST_S = 2.0

Seen = dict[str, float]
"""When each part was first seen, in seconds since 1970."""


@contextmanager
def streaming(url: str, clients: int) -> Iterator[list[Seen]]:
    """Follow Live with so many clients during the block; then fills the yielded list."""
    context = multiprocessing.get_context("spawn")
    ready, done, queue = context.Event(), context.Event(), context.SimpleQueue()
    process = context.Process(target=_follow_all, args=(url, clients, ready, done, queue))
    process.start()
    seen: list[Seen] = []
    try:
        if not ready.wait(_START_S):
            raise TimeoutError("no stream began")
        yield seen
        time.sleep(_LAST_S)
        done.set()
        seen += queue.get()
    finally:
        done.set()
        process.join()


def _follow_all(url: str, clients: int, ready: Event, done: Event, queue: Any) -> None:  # noqa: ANN401 - a SimpleQueue
    queue.put(asyncio.run(_run(url, clients, ready, done)))


async def _run(url: str, clients: int, ready: Event, done: Event) -> list[Seen]:
    seen: list[Seen] = [{} for _ in range(clients)]
    begun = [asyncio.Event() for _ in range(clients)]
    tasks = [asyncio.create_task(_follow(url, *pair)) for pair in zip(seen, begun, strict=True)]
    await asyncio.gather(*(one.wait() for one in begun))
    ready.set()
    while not done.is_set():
        await asyncio.sleep(0.1)
        for task in tasks:
            if task.done():
                task.result()  # raises what ended it
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def _follow(url: str, seen: Seen, begun: asyncio.Event) -> None:
    """Note when each part is first in a tile."""
    timeout = httpx.Timeout(60)
    async with (
        httpx.AsyncClient(base_url=url, timeout=timeout) as client,
        client.stream("GET", _EVENTS) as answer,
    ):
        answer.raise_for_status()
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
                begun.set()
            elif line.startswith("data: ") and kind == "tile":
                now = time.time()
                for part in PARTS.findall(json.loads(line[6:])["html"]):
                    seen.setdefault(part, now)

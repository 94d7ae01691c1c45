"""A line that posts parts at a constant rate, and what came of each."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

STATIONS = 4


@dataclass(slots=True)
class Posted:
    """The parts that were answered: when, and how long each took.

    `latencies_ms` count from the time at which a part was due: a stalled service also pays for the
    parts that it delayed.
    """

    answered_at: dict[str, float] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    failures: int = 0


def post(
    url: str,
    images: Sequence[bytes],
    category: str,
    *,
    per_s: float,
    seconds: float,
    tell: Callable[[], object] = lambda: None,
) -> Posted:
    """Post parts of four stations at a rate; return when all are answered."""
    return asyncio.run(_post(url, images, category, per_s, seconds, tell))


async def _post(
    url: str,
    images: Sequence[bytes],
    category: str,
    per_s: float,
    seconds: float,
    tell: Callable[[], object],
) -> Posted:
    posted = Posted()
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        started = time.monotonic()

        async def fire(number: int) -> None:
            due = started + number / per_s
            params = {"category": category, "station": f"EL-{number % STATIONS + 1}"}
            params |= {"part_id": f"part-{number}", "origin": "line"}
            body = images[number % len(images)]
            try:
                async with session.post("/detect", params=params, data=body) as answer:
                    content = await answer.json()
                    done, now = time.monotonic(), time.time()
            except (aiohttp.ClientError, TimeoutError):
                posted.failures += 1
                return
            if answer.status != 200:
                posted.failures += 1
                return
            posted.answered_at[content["inspection_id"]] = now
            posted.latencies_ms.append(1000 * (done - due))
            posted.decisions[content["decision"]] += 1
            tell()

        async with asyncio.TaskGroup() as group:
            for number in range(round(per_s * seconds)):
                await asyncio.sleep(max(0.0, started + number / per_s - time.monotonic()))
                group.create_task(fire(number))
    return posted

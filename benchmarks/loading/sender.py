"""The sender: a separate process, which shares no interpreter with the measured service.

An open loop sends every request at its intended time, from which latency counts: a stalled service
also pays for the requests it delayed. A closed loop keeps a constant number of requests in flight,
to find the capacity. aiohttp takes 0.2 to 0.4 ms of processor time a request, httpx 1.7 to 2.0.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import aiohttp

from benchmarks.loading.arrivals import Shot

_REPORT_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to post images, one per request, as the body."""

    url: str
    bodies: Mapping[str, Sequence[bytes]]
    headers: Mapping[str, str] = field(default_factory=dict)
    heatmap: str = "none"
    timeout_s: float = 60.0


class Outcome(NamedTuple):
    """The outcome of a request; times in seconds after the start; `status` 0 means no answer."""

    category: str
    intended_s: float
    sent_s: float
    done_s: float
    status: int
    problem: str
    decision: str

    @property
    def latency_ms(self) -> float:
        """Return the time from the intended sending to the end."""
        return 1000 * (self.done_s - self.intended_s)

    @property
    def lateness_ms(self) -> float:
        """Return the delay of sending."""
        return 1000 * (self.sent_s - self.intended_s)


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests at their intended times."""

    shots: Sequence[Shot]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A constant number of requests in flight for a time, over the categories in turn."""

    categories: Sequence[str]
    concurrency: int
    duration_s: float


class Sent(NamedTuple):
    """A sender's last message: all outcomes, and the fraction of a core that it used."""

    outcomes: list[Outcome]
    cpu_share: float


READY = "ready"
"""A sender's first message; it then receives the time to start."""


def run(connection: Connection, target: Target, work: OpenLoop | ClosedLoop) -> None:
    """Send requests, report their number and finally all outcomes; the process's entry point.

    The start is on the monotonic clock, which all processes of a machine share.
    """
    connection.send(READY)
    start = connection.recv()
    connection.send(asyncio.run(_send(target, work, start, connection.send)))
    connection.close()


async def _send(
    target: Target, work: OpenLoop | ClosedLoop, start: float, report: Callable[[int], None]
) -> Sent:
    timeout = aiohttp.ClientTimeout(total=target.timeout_s)
    connector = aiohttp.TCPConnector(limit=0)  # an open loop must not wait for a free connection
    async with aiohttp.ClientSession(target.url, connector=connector, timeout=timeout) as session:
        sending = _Sending(session, target, start)
        reporting = asyncio.create_task(sending.keep_reporting(report))
        await asyncio.sleep(start - time.monotonic())
        cpu, began = time.process_time(), time.monotonic()
        if isinstance(work, OpenLoop):
            await sending.open_loop(work.shots)
        else:
            await sending.closed_loop(work)
        reporting.cancel()
        share = (time.process_time() - cpu) / (time.monotonic() - began)
    return Sent(sending.outcomes, share)


class _Sending:
    def __init__(self, session: aiohttp.ClientSession, target: Target, start: float) -> None:
        self.outcomes: list[Outcome] = []
        self._session = session
        self._target = target
        self._start = start

    async def keep_reporting(self, report: Callable[[int], None]) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            report(len(self.outcomes))

    async def open_loop(self, shots: Sequence[Shot]) -> None:
        async with asyncio.TaskGroup() as group:
            for shot in shots:
                await asyncio.sleep(max(0.0, shot.at_s - self._now()))
                group.create_task(self._fire(shot))

    async def closed_loop(self, work: ClosedLoop) -> None:
        turns, numbers = cycle(work.categories), count()

        async def keep_one() -> None:
            while (now := self._now()) < work.duration_s:
                await self._fire(Shot(now, next(turns), next(numbers)))

        async with asyncio.TaskGroup() as group:
            for _ in range(work.concurrency):
                group.create_task(keep_one())

    async def _fire(self, shot: Shot) -> None:
        bodies = self._target.bodies[shot.category]
        sent_s = self._now()
        status, problem, decision = await _outcome_of(
            self._post(shot.category, bodies[shot.image % len(bodies)])
        )
        self.outcomes.append(
            Outcome(shot.category, shot.at_s, sent_s, self._now(), status, problem, decision)
        )

    async def _post(self, category: str, body: bytes) -> tuple[int, Any]:
        params = {"category": category, "heatmap": self._target.heatmap}
        async with self._session.post(
            "/detect", params=params, data=body, headers=self._target.headers
        ) as response:
            return response.status, json.loads(await response.read())

    def _now(self) -> float:
        return time.monotonic() - self._start


async def _outcome_of(posting: Awaitable[tuple[int, Any]]) -> tuple[int, str, str]:
    """Return status (0 for no answer), kind of problem and decision."""
    try:
        status, answer = await posting
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        return 0, next(word for kind, word in _FAILURES.items() if isinstance(error, kind)), ""
    if not isinstance(answer, dict):
        return status, "not-json", ""
    if status != 200:
        return status, str(answer.get("type", "?")).rpartition(":")[2], ""
    return status, "", str(answer["results"][0].get("decision"))


_FAILURES: dict[type[Exception], str] = {
    TimeoutError: "timeout",
    aiohttp.ClientConnectorError: "cannot-connect",
    aiohttp.ClientError: "connection-lost",
    OSError: "connection-lost",
    ValueError: "not-json",
}
"""The first matching class names the failure."""

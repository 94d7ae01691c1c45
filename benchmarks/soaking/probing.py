"""Measures how long a service is silent, in a process that does nothing else.

    with Prober({"service": "http://127.0.0.1:8000/livez"}) as prober:
        ...
        prober.take()["service"].longest_s

A new probe goes out on its own connection every 20 ms, but not before the answer to the last one.
`BASELINE`, a trivial service in a process that answers at once, is probed as well: the machine
causes its silences, and `excess_s` is the part of a silence beyond them.
"""

import asyncio
import json
import math
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

BASELINE = "baseline"
CADENCE_S = 0.02
_ROOT = Path(__file__).parents[2]
_RETRY_S = 0.005
_NOTABLE_S = 0.05
"""Silences shorter than this are not compared with the machine's."""


class Probe(NamedTuple):
    """The start of a probe on the monotonic clock, and the duration of its answer."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Silences:
    """The silences of one target since they were last taken."""

    count: int
    p99_s: float
    longest_s: float
    excess_s: float
    """The longest silence beyond the trivial process's at the same moment."""

    at: float = math.nan
    """The start of that silence, by the monotonic clock, which all processes share."""


class Prober:
    """Starts the probing process, and a trivial service beside the targets."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = dict(targets)
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Prober":
        trivial = self._start("serve")
        assert trivial.stdout is not None
        baseline = trivial.stdout.readline().strip()
        self._start("probe", json.dumps({**self._targets, BASELINE: baseline}))
        self.take()  # both are up and connected
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()

    def take(self) -> dict[str, Silences]:
        """Return the silences since the last call, including that of an unanswered probe."""
        probing = self._processes[-1]
        assert probing.stdin is not None
        assert probing.stdout is not None
        probing.stdin.write("\n")
        probing.stdin.flush()
        probes_of = json.loads(probing.stdout.readline())
        return summaries(
            {name: [Probe(*fields) for fields in probes] for name, probes in probes_of.items()}
        )

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "benchmarks.soaking.probing", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, text=True)
        self._processes.append(process)
        return process


def summaries(probes: Mapping[str, Sequence[Probe]]) -> dict[str, Silences]:
    """Summarise the probes of each target; nothing is subtracted for the trivial one."""
    machine = probes.get(BASELINE, ())
    return {
        name: _summary(samples, () if name == BASELINE else machine)
        for name, samples in probes.items()
    }


def _summary(probes: Sequence[Probe], machine: Sequence[Probe]) -> Silences:
    seconds = sorted(probe.seconds for probe in probes)
    if not seconds:
        return Silences(0, math.nan, math.nan, math.nan)
    starts = [probe.at for probe in machine]
    p99_s, longest_s = seconds[math.ceil(0.99 * len(seconds)) - 1], seconds[-1]
    excess_s, at = max(
        (probe.seconds - _longest_within(probe, machine, starts), probe.at)
        for probe in probes
        if probe.seconds >= min(longest_s, _NOTABLE_S)
    )
    return Silences(len(seconds), p99_s, longest_s, excess_s, at)


def _longest_within(probe: Probe, machine: Sequence[Probe], starts: Sequence[float]) -> float:
    """Return the machine's longest silence that overlaps a probe's; probes are in order of time."""
    first = max(0, bisect_left(starts, probe.at) - 1)
    last = bisect_left(starts, probe.at + probe.seconds)
    overlapping = (
        silence.seconds
        for silence in machine[first:last]
        if silence.at + silence.seconds > probe.at
    )
    return max(overlapping, default=0.0)


class _Target:
    """One address that is probed forever; a refused connection is silence, not an answer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._waiting_since = time.monotonic()
        self.answered = asyncio.Event()
        self.probes: list[Probe] = []

    async def run(self) -> None:
        while True:
            self._waiting_since = time.monotonic()
            while not await self._ask():
                await asyncio.sleep(_RETRY_S)
            seconds = time.monotonic() - self._waiting_since
            self.probes.append(Probe(self._waiting_since, seconds))
            self.answered.set()
            await asyncio.sleep(max(_RETRY_S, CADENCE_S - seconds))

    def take(self) -> list[Probe]:
        taken, self.probes = self.probes, []
        waited = time.monotonic() - self._waiting_since
        if not taken or waited > CADENCE_S + taken[-1].seconds:
            taken.append(Probe(self._waiting_since, waited))
            self._waiting_since += waited  # the next call counts the remaining time
        return taken

    async def _ask(self) -> bool:
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
            reader, writer = self._streams
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, EOFError, ValueError):
            if self._streams is not None:
                self._streams[1].close()
            self._streams = None
            return False
        return True


async def _probe(urls: Mapping[str, str]) -> None:
    """Probe until standard input ends; answer each of its lines with the probes since the last."""
    targets = {name: _Target(url) for name, url in urls.items()}
    tasks = [asyncio.create_task(target.run()) for target in targets.values()]
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    for target in targets.values():
        await target.answered.wait()
    while await lines.readline():
        print(json.dumps({name: target.take() for name, target in targets.items()}), flush=True)
    for task in tasks:
        task.cancel()


async def _serve() -> None:
    """Print the address and answer every request at once, until standard input ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve() if sys.argv[1] == "serve" else _probe(json.loads(sys.argv[2])))

"""Measures the cost of one request to a running service, and checks it against a limit.

    with Scales(live) as scales:
        scales.hold("a wide PNG", request, Budget(memory_mb=256))

Measures from before the request until the service is idle again, so that work after the answer
counts too: the additional memory of all processes together, the longest silence of /livez, and the
processor time of all processes, including ended ones.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import psutil

from benchmarks.soaking.exchange import Reply, exchange
from benchmarks.soaking.probing import Prober

_PATIENCE_S = 60.0
_SAMPLE_S = 0.01
_LOOKS = 12
_BUSY_LOOKS = 5
"""A thread that is running or runnable in this many looks is working; probes take less."""


class Service(Protocol):
    """The measured service: the process, whose descendants count too, and its /livez."""

    front: psutil.Process
    url: str


@dataclass(frozen=True)
class Budget:
    """Limits for one request."""

    memory_mb: float = 256.0
    silence_s: float = 1.0
    processor_s: float = 5.0


@dataclass(frozen=True)
class Cost:
    """The cost of one request; `silence_s` excludes the machine's own silence."""

    memory_mb: float
    silence_s: float
    processor_s: float

    def beyond(self, budget: Budget) -> list[str]:
        rows = (
            ("memory", self.memory_mb, budget.memory_mb, "MB"),
            ("silence of /livez", self.silence_s, budget.silence_s, "s"),
            ("processor time", self.processor_s, budget.processor_s, "s"),
        )
        return [
            f"{what} {spent:.4g} {unit}, and {limit:g} {unit} are allowed"
            for what, spent, limit, unit in rows
            if spent > limit
        ]


class OverBudget(AssertionError):
    """A request exceeded its budget."""


class Scales:
    """Measures requests, one at a time, on an otherwise idle service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._prober = Prober({"livez": f"{service.url}/livez"})
        self._is_idle = False

    def __enter__(self) -> "Scales":
        self._prober.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._prober.__exit__(kind, error, trace)

    def hold(
        self, name: str, request: bytes | Callable[[], object], budget: Budget
    ) -> tuple[Reply | None, Cost]:
        """Send a request, or call a sender; raises `OverBudget` if it costs too much.

        Returns the answer to `bytes`, a complete HTTP request, and its cost.
        """
        self._let_the_last_one_end()
        self._prober.take()
        reply = None
        with _Memory(self._service.front) as memory:
            before = processor_s(self._service.front)
            if callable(request):
                request()
            else:
                reply = exchange(self._service.url, request)
            spent_s = self._until_idle(before, budget)
        silence = self._prober.take()["livez"]
        cost = Cost(memory.grown_mb, silence.excess_s, spent_s)
        if faults := cost.beyond(budget):
            raise OverBudget(f"{name}: {'; '.join(faults)} ({cost}, answered {reply})")
        return reply, cost

    def _until_idle(self, before: float, budget: Budget) -> float:
        """Wait until the service is idle or has computed too much; return the processor seconds.

        Work whose answer nobody awaits counts too.
        """
        spent = 0.0
        while spent <= budget.processor_s:
            self._is_idle = self._looks_idle()
            spent = processor_s(self._service.front) - before
            if self._is_idle:
                break
        return spent

    def _let_the_last_one_end(self) -> None:
        """Wait, up to a limit, until work left by a request over its budget has ended."""
        until = time.monotonic() + _PATIENCE_S
        while not self._is_idle and time.monotonic() < until:
            self._is_idle = self._looks_idle()

    def _looks_idle(self) -> bool:
        return sum(self._looks_busy() for _ in range(_LOOKS)) < _BUSY_LOOKS

    def _looks_busy(self) -> bool:
        """Wait briefly; return whether a thread is then running or runnable."""
        time.sleep(_SAMPLE_S)
        return any(
            state == b"R" for process in family(self._service.front) for state in states(process)
        )


class _Memory:
    """Measures the peak memory of a process and its descendants together.

    The kernel knows each process's peak; frequent looks catch short-lived children.
    """

    def __init__(self, front: psutil.Process) -> None:
        self._front = front
        self._done = threading.Event()
        self._watching = threading.Thread(target=self._watch)
        self._before = self._highest = 0
        self.grown_mb = 0.0

    def __enter__(self) -> "_Memory":
        for process in family(self._front):
            with suppress(OSError):
                (Path("/proc") / str(process.pid) / "clear_refs").write_text("5")  # resets the peak
        self._before = self._taken("VmRSS")
        self._watching.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._watching.join()
        peaks = max(self._highest, self._taken("VmHWM"))
        self.grown_mb = (peaks - self._before) / 2**20

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._highest = max(self._highest, self._taken("VmRSS"))

    def _taken(self, field: str) -> int:
        """Return the sum of all processes' bytes; their peaks need not be simultaneous."""
        total = 0
        for process in family(self._front):
            with suppress(OSError):
                status = (Path("/proc") / str(process.pid) / "status").read_text("ascii")
                match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
                total += int(match[1]) * 1024 if match else 0  # an ended process has none
        return total


def family(front: psutil.Process) -> list[psutil.Process]:
    processes = [front]
    for process in processes:  # grows during the iteration
        for thread in _threads(process):
            with suppress(OSError, psutil.NoSuchProcess):
                children = (thread / "children").read_text("ascii").split()
                processes += [psutil.Process(int(pid)) for pid in children]
    return processes


def states(process: psutil.Process) -> list[bytes]:
    """R means running or runnable."""
    letters = []
    for thread in _threads(process):
        with suppress(OSError):
            letters.append((thread / "stat").read_bytes().rpartition(b")")[2].split()[0])
    return letters


def _threads(process: psutil.Process) -> list[Path]:
    with suppress(OSError):
        return list(Path(f"/proc/{process.pid}/task").iterdir())
    return []


def processor_s(front: psutil.Process) -> float:
    """Return the processor time of a process and its descendants, including ended ones."""
    total = 0.0
    for process in family(front):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # user and system, with ended children's
    return total

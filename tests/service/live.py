"""A service started by `mambaad serve`, in separate processes, watched from outside."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from service.client.trust import trust

ROOT = Path(__file__).parents[2]
RUN = "from service.cli.main import main; main()"
READY = re.compile(r"Ready on (https?://\S+) for")
TIMEOUT_S = 60.0


class Live:
    """A running service: its address, processes and log."""

    def __init__(self, process: "subprocess.Popen[str]", authority: Path | None = None) -> None:
        self.process = process
        self.authority = authority
        self.front = psutil.Process(process.pid)
        self.log: list[str] = []
        self.url = ""
        self.counted_from_start = set[str]()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(iter(self.process.stderr.readline, ""))

    def await_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if match := READY.search(line):
                self.url = match[1].rstrip(".")
                self.counted_from_start = self.counters()
                return
        self._reading.join()
        raise AssertionError("".join(self.log))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.await_end()

    def await_end(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.read()
        status = self.process.wait(TIMEOUT_S)
        self._reading.join()
        return status

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=TIMEOUT_S, verify=trust(self.authority))

    def connect(self, *pieces: bytes) -> socket.socket:
        host, _, port = self.url.removeprefix("http://").partition(":")
        connection = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        for piece in pieces:
            connection.sendall(piece)
        return connection

    def inspect(self, content: bytes, category: str = "bolt") -> dict[str, Any]:
        with self.client() as client:
            response = client.post("/detect", params={"category": category}, content=content)
        assert response.status_code == 200, response.text
        (result,) = response.json()["results"]
        return dict(result)

    def until(
        self, condition: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S
    ) -> None:
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, f"no {what} within {timeout_s} s"
            time.sleep(0.02)

    def await_health(self) -> None:
        """Wait until the service is ready and idle."""

        def is_sound() -> bool:
            with self.client() as client:
                ready = client.get("/readyz").status_code == 200
            return ready and not self.metric("mambaad_queue_depth")

        self.until(is_sound, "recovery")

    @contextmanager
    def bystander(self, content: bytes) -> Iterator[list[float]]:
        """Post a good image repeatedly; every answer must equal the first one.

        Yields the seconds of its answers.
        """
        expected = self.inspect(content)
        done, seconds, wrong = threading.Event(), list[float](), list[object]()

        def post() -> None:
            while not wrong and not (done.is_set() and seconds):
                started = time.monotonic()
                try:
                    result = self.inspect(content)
                except Exception as error:
                    wrong.append(error)
                    return
                seconds.append(time.monotonic() - started)
                if not _same(result, expected):
                    wrong.append(result)

        posting = threading.Thread(target=post)
        posting.start()
        try:
            yield seconds
        finally:
            done.set()
            posting.join()
        assert not wrong, wrong

    @property
    def tree(self) -> list[psutil.Process]:
        return [self.front, *self.front.children(recursive=True)]

    @property
    def worker(self) -> psutil.Process:
        """Return the only worker; waits while it starts."""
        self.until(self._workers, "worker")
        (worker,) = self._workers()
        return worker

    def is_replaced(self, worker: psutil.Process) -> bool:
        return bool(self._workers()) and worker not in self._workers()

    def _workers(self) -> list[psutil.Process]:
        workers = []
        for child in self.front.children():
            with suppress(psutil.NoSuchProcess):
                if any("spawn_main" in word for word in child.cmdline()):
                    workers.append(child)
        return workers

    @property
    def decode_children(self) -> list[int]:
        """The processes that decode expensive images."""
        children = []
        for child in self.front.children():
            with suppress(psutil.NoSuchProcess):
                if any("decode_child" in word for word in child.cmdline()):
                    children.append(child.pid)
        return children

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of /metrics, or 0 if it is missing."""
        with self.client() as client:
            families = text_string_to_metric_families(client.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def counters(self) -> set[str]:
        """Name the counters, without those of a version or a network's stage."""
        with self.client() as client:
            families = text_string_to_metric_families(client.get("/metrics").text)
        return {
            f"{sample.name}{sorted(sample.labels.items())}"
            for family in families
            for sample in family.samples
            if sample.name.endswith(("_total", "_count"))
            and not {"version", "stage"} & set(sample.labels)
        }

    def tracebacks(self) -> list[str]:
        """Log entries with a traceback, and text that is no log line."""
        return [line for line in list(self.log) if _is_trouble(line)]

    @contextmanager
    def heard(self, longest_s: float) -> Iterator[None]:
        """Check that `/livez` answers within `longest_s` during the block."""
        done, seconds = threading.Event(), list[float]()

        def ask() -> None:
            with self.client() as client:
                while not done.is_set():
                    started = time.monotonic()
                    assert client.get("/livez").status_code == 200
                    seconds.append(time.monotonic() - started)
                    done.wait(0.01)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            self.until(lambda: seconds, "answer of /livez")
            yield
        finally:
            done.set()
            asking.join()
        assert max(seconds) < longest_s, f"/livez was silent for {max(seconds):.2f} s"

    @contextmanager
    def memory_within(self, megabytes: float) -> Iterator[None]:
        """Check that the processes together take at most so much additional memory."""
        before = sum(_resident(process) for process in self.tree)
        for process in self.tree:
            (Path("/proc") / str(process.pid) / "clear_refs").write_text("5")  # resets the peak
        yield
        peaks = sum(_resident(process, "VmHWM") for process in self.tree)
        grown = (peaks - before) / 2**20
        assert grown < megabytes, f"the processes took {grown:.0f} MB more than before"


def _same(result: dict[str, Any], expected: dict[str, Any]) -> bool:
    return result["decision"] == expected["decision"] and math.isclose(
        result["raw_score"], expected["raw_score"], rel_tol=1e-4
    )


def _resident(process: psutil.Process, field: str = "VmRSS") -> int:
    status = (Path("/proc") / str(process.pid) / "status").read_text("ascii")
    match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert match, status
    return int(match[1]) * 1024


def _is_trouble(line: str) -> bool:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return bool(line.strip())
    return "exception" in entry or "Traceback" in line


@contextmanager
def serving(
    weights: Path,
    *,
    path: tuple[Path, ...] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
    **settings: object,
) -> Iterator[Live]:
    """Serve a store on a free port during the block; `path` goes before the modules'.

    Settings are named as in `workers__max_batch_size=4`; `variables` are others.
    """
    port = str(settings.pop("http__port", 0))
    certificate = settings.get("http__tls_certificate")
    command = [sys.executable, "-c", RUN, "serve", "--port", port, "--weights", str(weights)]
    environment = {f"MAMBAAD_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [*command, "--samples", str(weights)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))),
            "OMP_NUM_THREADS": "1",
            "MAMBAAD_WORKERS__THREADS_PER_WORKER": "1",
            **environment,
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    live = Live(process, Path(str(certificate)) if certificate else None)
    try:
        live.await_ready()
        yield live
    finally:
        process.kill()
        live.await_end()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()

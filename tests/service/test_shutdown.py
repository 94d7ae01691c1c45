"""SIGTERM or SIGHUP to a real process under load: it answers accepted requests and exits with 0."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.hostile_images import jpeg_of_many_scans

ROOT = Path(__file__).parents[2]
RUN = "from service.cli.main import main; main()"
READY = re.compile(r"Ready on (\S+) for")


@pytest.fixture
def start(weights, tmp_path):
    """Start `mambaad serve`; yield the process, and its address once it is ready."""

    @contextmanager
    def run(wait_ready=True, under=(), **environment):
        serve = [sys.executable, "-c", RUN, "serve", "--port", "0", "--weights", str(weights)]
        command = [*under, *serve]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--samples", str(tmp_path)],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "OMP_NUM_THREADS": "1",
                    "MAMBAAD_WORKERS__THREADS_PER_WORKER": "1",
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            url = ""
            while wait_ready and not url:
                line = process.stdout.readline()
                assert line, (tmp_path / "log").read_text("utf-8")
                match = READY.search(line)
                url = match[1] if match else ""
            yield process, url.rstrip(".")
        finally:
            process.kill()
            process.communicate()
        assert "Traceback" not in (tmp_path / "log").read_text("utf-8")

    return run


class Load:
    """Threads that post one image after another until the service says that it leaves."""

    def __init__(self, url: str, image: bytes) -> None:
        self._url, self._image = url, image
        self.statuses: list[int] = []
        self.failures: list[str] = []
        self.leaving = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self.leaving.is_set():
                try:
                    response = client.post("/detect?category=bolt", content=self._image)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    return
                self.statuses.append(response.status_code)

    def watch(self) -> None:
        """Act like a load balancer: send nothing more once the service is not ready."""
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while client.get("/readyz").status_code == 200:
                time.sleep(0.02)
        self.leaving.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_under_load_fails_no_request(start, image, number):
    """A closing terminal signals all processes, not only the service's."""
    with (
        start(MAMBAAD_HTTP__SHUTDOWN_GRACE_S="1") as (process, url),
        ThreadPoolExecutor(9) as threads,
    ):
        load = Load(url, image())
        working = [threads.submit(load.run) for _ in range(8)]
        watching = threads.submit(load.watch)
        while len(load.statuses) < 20:
            time.sleep(0.02)
        processes = [process]
        if number == signal.SIGHUP:
            processes += psutil.Process(process.pid).children(recursive=True)
        for signalled in processes:
            signalled.send_signal(number)
        time.sleep(0.3)
        answer = httpx.get(f"{url}/readyz")  # the service still accepts new connections
        assert answer.status_code == 503
        assert "the service is shutting down" in answer.json()["reasons"]
        assert answer.headers["connection"] == "close"
        for future in (*working, watching):
            future.result(60)
        assert process.wait(60) == 0
    assert load.failures == []
    assert set(load.statuses) == {200}


def test_sigterm_delivers_what_waits_for_a_slow_sink(start, image, tmp_path):
    """As when Kubernetes takes a pod away for good."""
    results = tmp_path / "results"
    sink = {"type": "folder", "path": str(results), "max_per_s": 4}
    with start(
        MAMBAAD_VERSIONS__STATE_DIR=str(tmp_path / "state"),
        MAMBAAD_HTTP__SHUTDOWN_GRACE_S="0",
        MAMBAAD_DELIVERY__SINKS=json.dumps({"files": sink}),
        MAMBAAD_DELIVERY__DRAIN_S="60",
    ) as (process, url):
        for _ in range(8):
            assert httpx.post(f"{url}/detect?category=bolt", content=image()).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
    files = [file for file in results.rglob("*") if file.is_file()]
    assert sum(len(file.read_text("utf-8").splitlines()) for file in files) == 8


def test_what_should_outlive_its_terminal_does(start):
    with start(under=["nohup"], MAMBAAD_HTTP__SHUTDOWN_GRACE_S="0") as (process, url):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert httpx.get(f"{url}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_while_starting_leaves_too(start, tmp_path, eventually, number):
    with start(wait_ready=False) as (process, _):
        eventually(lambda: (tmp_path / "log").read_text("utf-8"), "the first line of the log")
        process.send_signal(number)
        assert process.wait(60) == 0
        assert "Ready" not in process.stdout.read()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_decode_children_end_with_the_service(start, number):
    dear = jpeg_of_many_scans(1_500, 1_500, 400)
    with start() as (process, url):
        answer = httpx.post(f"{url}/detect?category=bolt", content=dear, timeout=60)
        assert answer.status_code == 200
        children = [
            child
            for child in psutil.Process(process.pid).children()
            if any("decode_child" in word for word in child.cmdline())
        ]
        assert children
        process.send_signal(number)
        assert process.wait(60) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []

"""Ray nodes on this machine, and services that compute on them."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import ROOT, copy_store, serving

PATIENCE_S = 900.0


class RayNodes:
    """Nodes of one core each; the first is the head. Their files are in `folder`."""

    def __init__(self, program: "subprocess.Popen[str]", folder: Path) -> None:
        self.folder = folder
        self._program = program
        self.address = self._read()

    def do(self, command: str) -> None:
        """Add or end a node: "add NAME", or "end NAME", which kills all its processes."""
        assert self._program.stdin is not None
        self._program.stdin.write(command + "\n")
        self._program.stdin.flush()
        self._read()

    def _read(self) -> str:
        assert self._program.stdout is not None
        line = self._program.stdout.readline().strip()
        if not line:
            raise CannotMeasure("the Ray nodes ended")
        return line


@contextmanager
def ray_nodes(count: int) -> Iterator[RayNodes]:
    """Run so many nodes, named "2", "3" and so on after the head."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path, because it has sockets
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.service.cluster.nodes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    try:
        nodes = RayNodes(program, folder)
        for number in range(2, count + 1):
            nodes.do(f"add {number}")
        yield nodes
    finally:
        program.communicate(timeout=PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def service(weights: Path, **variables: object) -> Iterator[tuple[str, Path]]:
    """Serve a copy of the first checkpoint with a worker of one thread; yields the URL, its folder.

    The service keeps an archive, as in a plant.
    """
    with tempfile.TemporaryDirectory(prefix="mambaad-cluster-") as folder:
        store = Path(folder) / "weights"
        copy_store(weights, store, 1, 1)
        settings = {
            "workers__threads_per_worker": 1,
            "workers__spare": "off",
            "versions__state_dir": Path(folder) / "state",
            **variables,
        }
        environment = {f"MAMBAAD_{k.upper()}": str(value) for k, value in settings.items()}
        with serving(store, variables=environment) as url:
            yield url, Path(folder)


@contextmanager
def service_on(nodes: RayNodes, weights: Path, workers: int) -> Iterator[tuple[str, Path]]:
    """Serve with workers on the nodes; yields as `service` does, when all are ready."""
    settings = {
        "cluster__address": nodes.address,
        "cluster__min_workers": workers,
        "cluster__max_workers": workers,
        "cluster__linger_s": 1,
    }
    with service(weights, **settings) as (url, folder):
        await_workers(url, workers)
        yield url, folder


def processor_s(folders: Sequence[Path]) -> float:
    """Return the processor time of all processes that name one of these folders, and of theirs."""
    mine = set[psutil.Process]()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline() for folder in folders):
                mine |= {process, *process.children(recursive=True)}
    total = 0.0
    for process in mine:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def await_workers(url: str, count: int) -> float:
    """Wait until so many workers are ready; return the seconds that it took."""
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE_S:
        workers = httpx.get(f"{url}/readyz", timeout=60).json()["workers"]
        if [worker["state"] for worker in workers].count("ready") == count:
            return time.monotonic() - began
        time.sleep(0.05)
    raise CannotMeasure(f"{count} workers were not ready within {PATIENCE_S:g} s: {workers}")

"""One service and its stations, each a process that can be killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import MAMBAAD, ROOT

_READY_S = 300.0
_STOP_S = 60.0
_KEPT_SHOTS = 50


class Process:
    """A command that ends by `end`, and has always the same address."""

    def __init__(self, name: str, folder: Path, command: Sequence[str], port: int) -> None:
        self.name = name
        self.port = port
        self.log = folder / f"{name}.log"
        self.starts = 0
        self._command = [*MAMBAAD, *command]
        self._environment = child_environment()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process; None if it does not run."""
        return self._process.pid if self._process else None

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start the process; return when it listens. Raises `CannotMeasure`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment | dict(variables or {}),
                stdout=log, stderr=log,
            )  # fmt: skip
        self.starts += 1
        until = time.monotonic() + _READY_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                text = self.log.read_text("utf-8", "replace")
                raise CannotMeasure(f"{self.name} did not start:\n{text[-2000:]}")
            time.sleep(0.1)

    def is_ready(self) -> bool:
        """Whether something listens on the port."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False

    def end(self, number: int) -> int:
        """Send a signal, wait for the end with all children, and return the exit status."""
        if self._process is None:
            return 0
        if (ended_as := self._process.poll()) is not None:  # by itself: it could not start
            self._process = None
            return ended_as
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(number)
        status = self._process.wait(_STOP_S)
        psutil.wait_procs(children, _STOP_S)
        self._process = None
        return status


class Service(Process):
    """`mambaad serve` with an archive in `folder`."""

    def __init__(self, folder: Path, weights: Path, settings: Mapping[str, object]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            "service", folder, ["serve", "--port", str(port), "--weights", str(weights)], port
        )
        given = {"versions__state_dir": folder / "state", "telemetry__log_level": "WARNING"}
        self._environment |= {
            f"MAMBAAD_{name.upper()}": str(value) for name, value in {**given, **settings}.items()
        }

    def is_ready(self) -> bool:
        """Whether the service can inspect."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False


class StationProcess(Process):
    """`mambaad station run` with one camera, whose images `expose` writes."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.shots = folder / "shots"
        self.shots.mkdir(parents=True)
        self.file = folder / "station.yaml"
        port = free_port()
        camera = {
            "path": "shots", "pattern": "{trigger_number}.png", "renamed_into_place": True,
            "timeout_ms": 500,
        }  # fmt: skip
        values = {
            "name": name,
            "cameras": {"top": {"folder": camera}},
            "plc": {"modbus": {"port": port}},
            "spool": {"min_free_bytes": 0},
            "status": {"port": free_port()},
            **settings,
        }
        self.file.write_text(json.dumps(values, indent=2) + "\n", "utf-8")  # JSON is YAML
        super().__init__(name, folder, ["station", "run", str(self.file)], port)

    def write_image(self, number: int, content: bytes) -> None:
        """Write the image of a part into the camera's folder, and delete an older one."""
        half = self.shots / f".{number}"
        half.write_bytes(content)
        half.replace(self.shots / f"{number}.png")
        (self.shots / f"{number - _KEPT_SHOTS}.png").unlink(missing_ok=True)


def child_environment() -> dict[str, str]:
    """Return the variables of a process that is started here."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@contextmanager
def ended(processes: Sequence[Process]) -> Iterator[None]:
    """Kill the processes after the block, if they still run."""
    try:
        yield
    finally:
        for process in processes:
            process.end(signal.SIGKILL)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def tell(line: str) -> None:
    """Say what happens, on stderr."""
    print(line, file=sys.stderr, flush=True)

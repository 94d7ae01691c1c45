"""The doors that are measured: their settings, and a PLC that works through them, by name."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.loading.serving import MAMBAAD, ROOT
from benchmarks.stationing.site import child_environment


@dataclass(frozen=True, slots=True)
class DoorSide:
    """`settings` go into `plc:` of station.yaml; `plc` is a command that triggers parts."""

    settings: Callable[[int], Mapping[str, Any]]
    plc: Callable[[Path, int], Sequence[str]]


def _modbus_settings(port: int) -> Mapping[str, Any]:
    return {"modbus": {"port": port}}


def _simulated_plc(file: Path, parts: int) -> Sequence[str]:
    """Return `mambaad station simulate-plc`, which scans as fast as it can."""
    options = ["--parts", str(parts), "--max-delay-ms", "0"]
    return [*MAMBAAD, "station", "simulate-plc", str(file), *options]


def _opcua_settings(port: int) -> Mapping[str, Any]:
    return {"opcua": {"port": port, "no_security": True, "anonymous": "command"}}


def _opcua_plc(file: Path, parts: int) -> Sequence[str]:
    port = json.loads(file.read_text("utf-8"))["plc"]["opcua"]["port"]
    url = f"opc.tcp://127.0.0.1:{port}/station"
    return [sys.executable, "-m", "benchmarks.stationing.opcua_plc", url, str(parts)]


DOORS = {
    "modbus": DoorSide(_modbus_settings, _simulated_plc),
    "opcua": DoorSide(_opcua_settings, _opcua_plc),
}


class Plc:
    """A PLC in a process of its own, so that it does not slow the station that is measured."""

    def __init__(self, door: DoorSide, file: Path, parts: int) -> None:
        self._log = file.with_name("plc.log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                door.plc(file, parts), cwd=ROOT, env=child_environment(), stdout=log, stderr=log
            )

    def wait(self) -> str:
        """Wait for its end; return what it said. Raises `RuntimeError` if a part got no result."""
        status = self._process.wait()
        text = self._log.read_text("utf-8", "replace")
        if status:
            raise RuntimeError(f"the PLC ended with {status}:\n{text[-2000:]}")
        return text

    def end(self) -> None:
        """End the process, if it still runs."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

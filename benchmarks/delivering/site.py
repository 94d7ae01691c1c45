"""A service and its receivers, each of which can fail: broker, webhook, database, folder."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, create_engine

from benchmarks.loading import CannotMeasure
from benchmarks.loading.serving import MAMBAAD, ROOT
from service.archive.migrate import upgrade
from tests.service.archive.postgresql import PostgresServer
from tests.service.archive.postgresql import running as running_database
from tests.service.delivery.broker import Broker, Listener, free_port, listening
from tests.service.delivery.receiver import SECRET, Receiver

_READY_S = 300.0


class Service:
    """`mambaad serve` on one port, which can be killed and started again."""

    def __init__(self, folder: Path, weights: Path, sinks: Mapping[str, Any]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "service.log"
        self._command = [*MAMBAAD, "serve", "--port", str(self.port), "--weights", str(weights)]
        self._environment = {
            **os.environ,
            "MAMBAAD_VERSIONS__STATE_DIR": str(folder / "state"),
            "MAMBAAD_DELIVERY__SINKS": json.dumps(sinks),
            "MAMBAAD_TELEMETRY__LOG_LEVEL": "WARNING",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service; return when it can inspect."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        until = time.monotonic() + _READY_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise CannotMeasure(f"the service did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def end(self, number: int) -> None:
        """Send a signal, and wait for the end."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def deliveries(self) -> dict[str, dict[str, Any]]:
        """Return the state of every sink."""
        answer = httpx.get(f"{self.url}/deliveries", timeout=60)
        answer.raise_for_status()
        return {sink["sink"]: sink for sink in answer.json()["sinks"]}

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False


class Site:
    """The service with its four receivers."""

    def __init__(
        self,
        folder: Path,
        weights: Path,
        broker: Broker,
        listener: Listener,
        receiver: Receiver,
        database: PostgresServer,
    ) -> None:
        self.results = folder / "results"
        self.broker = broker
        self.listener = listener
        self.receiver = receiver
        self.database = database
        self.database_url = database.create_database()
        self.engine: Engine = create_engine(self.database_url)
        with self.engine.begin() as connection:
            upgrade(connection)
        self.engine.dispose()
        secret = folder / "secret"
        secret.write_text(SECRET, "utf-8")
        sinks = {
            "broker": {"type": "mqtt", "host": "127.0.0.1", "port": broker.port},
            "webhook": {"type": "webhook", "url": receiver.url, "secret_file": str(secret)},
            "folder": {"type": "folder", "path": str(self.results)},
            "database": {"type": "postgresql", "url": self.database_url},
        }
        self.service = Service(folder, weights, sinks)


@contextmanager
def site(folder: Path, weights: Path) -> Iterator[Site]:
    """Start all of it; stop all of it at the end."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder / "broker").running())
        listener = stack.enter_context(listening(broker))
        receiver = stack.enter_context(Receiver().running())
        database = stack.enter_context(running_database())
        made = Site(folder, weights, broker, listener, receiver, database)
        stack.callback(made.engine.dispose)
        made.service.start()
        stack.callback(made.service.end, signal.SIGTERM)
        yield made

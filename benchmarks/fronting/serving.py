"""The measured process: a service whose network answers at once, with findings recorded before.

    python benchmarks/fronting/serving.py STORE FINDINGS [STATE]

It prints its port, then answers each line on its standard input with one line of JSON: `usage` with
the processor time of this process, `decode CATEGORY COUNT` with that of decoding one image. It
imports `service` from the checkout that PYTHONPATH names, which may be another one than its own.
"""

import asyncio
import gc
import json
import pickle
import resource
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import service.app
from model.checkpoints.key import CheckpointKey
from service.assembly.foundations import Foundations
from service.http.server import GracefulServer, listen, server_config
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.preparing import Preparer
from service.inspection.images.sources import Upload
from service.settings import Settings
from service.telemetry.logs import configure_logging
from service.versions.registry import Route
from service.workers.jobs import Job, Priority
from service.workers.pipe.messages import Finding, LoadReport, Resident
from service.workers.protocol import SpareState, SpareStatus, WorkerState, WorkerStatus

_NAME = "replayed"
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


class ReplayedWorkers:
    """Implements `Workers`: every job gets the recorded finding of its category at once."""

    def __init__(self, findings: Mapping[str, Finding], keys: Sequence[CheckpointKey]) -> None:
        self._findings = findings
        self._residents = {_NAME: {key: Resident(0, 0.0, 0.0, None) for key in keys}}

    async def __aenter__(self) -> Self:
        """There is nothing to start."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to stop."""

    def admit(
        self, checkpoint: CheckpointKey, deadline: float, priority: Priority, nbytes: int
    ) -> None:
        """There is always room."""

    def submit(self, job: Job) -> None:
        """Answer with the recorded finding, with its map only if a worker would send it."""
        job.taken_at = asyncio.get_running_loop().time()
        finding = self._findings[job.item.category]
        if not job.item.sends_map(finding.decision):
            finding = Finding(
                finding.decision, finding.score, finding.raw_score, finding.threshold,
                finding.regions, finding.timings_ms,
            )  # fmt: skip
        job.settle(finding)

    async def load(self, key: CheckpointKey) -> dict[str, LoadReport]:
        """Everything is loaded."""
        return {_NAME: LoadReport(0, 0.0)}

    async def unload(self, key: CheckpointKey) -> None:
        """Nothing is unloaded."""

    def residents(self) -> Mapping[str, Mapping[CheckpointKey, Resident]]:
        """Return every checkpoint of the store."""
        return self._residents

    def status(self) -> Sequence[WorkerStatus]:
        """Return one worker that is ready."""
        return [WorkerStatus(_NAME, WorkerState.READY, "", 0)]

    def holds(self, key: CheckpointKey) -> bool:
        """Whether a checkpoint is loaded: every one of the store is."""
        return any(key in keys for keys in self._residents.values())

    def unready(self) -> Sequence[WorkerStatus]:
        """Return no worker: the one is ready."""
        return []

    def spare(self) -> SpareStatus:
        """There is no spare."""
        return SpareStatus(SpareState.OFF, "answers are replayed")

    async def wait_change(self) -> None:
        """Wait for ever: the worker is ready."""
        await asyncio.Event().wait()


def main(store: Path, findings_file: Path, state: Path | None) -> None:
    """Serve until standard input ends."""
    settings = Settings(
        http={"port": 0},  # type: ignore[arg-type]
        versions={"weights_dir": store, "state_dir": state},  # type: ignore[arg-type]
    )
    configure_logging(settings.telemetry.log_level, "json")
    recorded: dict[str, tuple[Finding, bytes]] = pickle.loads(findings_file.read_bytes())
    findings = {category: finding for category, (finding, _) in recorded.items()}

    def replayed(base: Foundations) -> ReplayedWorkers:
        return ReplayedWorkers(findings, base.registry.checkpoints)

    with patch.object(service.app, "worker_pool", replayed):
        app = service.app.create_app(settings, on_ready=lambda: _say(port))
        server = GracefulServer(server_config(app, settings.http), app.state.shutdown, 0.0)
        listener = listen(settings.http)
        port = listener.getsockname()[1]
        images = {category: image for category, (_, image) in recorded.items()}
        _obey(app, server, images)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)  # as `mambaad serve` does
        server.run(sockets=[listener])


def _obey(app: Any, server: GracefulServer, images: Mapping[str, bytes]) -> None:  # noqa: ANN401
    """Answer the lines on standard input from a thread of its own, which waits for them."""

    def read() -> None:
        for line in sys.stdin:
            command, *words = line.split()
            if command == "usage":
                used = resource.getrusage(resource.RUSAGE_SELF)
                _say({"user_s": used.ru_utime, "system_s": used.ru_stime})
            else:
                category, count = words
                route = app.state.service.registry.find(category, canary_key="")
                _say(_decoding_s(route, images[category], int(count)))
        server.should_exit = True

    threading.Thread(target=read, daemon=True).start()


def _decoding_s(route: Route, image: bytes, count: int) -> float:
    """Return the processor time of decoding and framing an image as a request does."""
    preparer = Preparer(ImageLimits.of(Settings().inspection))
    source = Upload(None, image)
    for _ in range(10):
        preparer.prepare(route, source, keep=False)
    started = time.thread_time()
    for _ in range(count):
        preparer.prepare(route, source, keep=False)
    return (time.thread_time() - started) / count


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)

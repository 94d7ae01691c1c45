"""A store of tiny checkpoints, a real server on a free loopback port, and images to post."""

import json
import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from model import MambaAD, NetworkConfig
from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.images.preprocess import Preprocessing
from model.scoring.scores import Scoring
from service.app import create_app
from service.client.trust import trust
from service.http.server import GracefulServer, server_config
from service.http.tls.certificate import Certificate
from service.settings import (
    ApiSettings,
    HttpSettings,
    InspectionSettings,
    Settings,
    VersionSettings,
    WorkerSettings,
)
from service.telemetry.metrics import Metrics
from service.workers.spare import Spare
from service.workers.worker import Worker
from tests.service.archive.postgresql import postgresql_server, postgresql_url  # noqa: F401
from tests.service.line import Line
from tests.service.live import Live, serving

INPUT = (64, 64)
TIMEOUT_S = 180.0


@pytest.fixture(scope="session", autouse=True)
def no_spare() -> Iterator[None]:
    """Spares in this process are never started, unless a test lets them be."""
    with patch.object(Spare, "settle_s", 1e9):
        yield


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture(scope="session")
def calibration() -> Callable[[float], Calibration]:
    """Raw scores of any network lie between 0 and 2."""

    def make(threshold: float) -> Calibration:
        return Calibration(
            image_threshold=threshold,
            pixel_threshold=threshold,
            image_scale=10.0,
            pixel_scale=10.0,
            alpha=0.01,
            good_images=150,
        )

    return make


@pytest.fixture(scope="session")
def network() -> Callable[[], MambaAD]:
    """All with the same random weights."""
    config = NetworkConfig(
        encoder="test_efficientnet",
        image_size=INPUT,
        depths=(2, 2, 2, 2),
        directions=2,
        state_size=2,
        scan="sweep",
    )

    def make() -> MambaAD:
        torch.manual_seed(0)
        return MambaAD(config)

    return make


@pytest.fixture(scope="session")
def save(
    network: Callable[[], MambaAD], calibration: Callable[[float], Calibration]
) -> Callable[..., Path]:
    """Return the checkpoint's folder."""

    def write(
        root: Path, name: str, thresholds: dict[str, float], net: MambaAD | None = None
    ) -> Path:
        net = net or network()
        store = CheckpointStore(root)
        checkpoint = store.save(
            name,
            net,
            Preprocessing(image_size=INPUT, mean=net.encoder.mean, std=net.encoder.std),
            Scoring(),
            {category: calibration(threshold) for category, threshold in thresholds.items()},
            training={},
            metrics={},
            license="CC0-1.0",
            notice="Random weights.",
        )
        return store.find(name, checkpoint.version)

    return write


@pytest.fixture(scope="session")
def weights(
    tmp_path_factory: pytest.TempPathFactory,
    save: Callable[..., Path],
    network: Callable[[], MambaAD],
) -> Path:
    """A store with good and bad checkpoints.

    parts/1      bolt is always OK, nut always NG
    poisoned/1   ghost: finite weights that overflow to NaN
    rotten/1     rust: a byte of the weights has flipped
    unreadable/1 its manifest is no JSON
    """
    root = tmp_path_factory.mktemp("store") / "weights"
    save(root, "parts", {"bolt": 10.0, "nut": -10.0})
    poisoned = network()
    with torch.no_grad():
        for parameter in poisoned.decoder.parameters():
            parameter.fill_(3e38)
    save(root, "poisoned", {"ghost": 1.0}, poisoned)
    damaged = save(root, "rotten", {"rust": 1.0}) / "network.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    (save(root, "unreadable", {"cog": 1.0}) / "manifest.json").write_text("{", "utf-8")
    return root


@pytest.fixture(scope="session")
def image() -> Callable[..., bytes]:
    """Encoded noise."""

    def make(
        width: int = 96, height: int = 48, kind: str = "PNG", seed: int = 0, mode: str = "RGB"
    ) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        encoded = BytesIO()
        Image.fromarray(noise).convert(mode).save(encoded, kind)
        return encoded.getvalue()

    return make


@dataclass
class RunningServer:
    """A server in a thread of this process, with real worker processes."""

    app: FastAPI
    settings: Settings
    url: str
    log: list[logging.LogRecord]
    fresh_metrics: str = ""
    """/metrics before any request except probes."""

    def client(self) -> httpx.Client:
        verify = trust(self.settings.http.tls_certificate)
        return httpx.Client(base_url=self.url, timeout=TIMEOUT_S, verify=verify)

    @property
    def worker(self) -> Worker:
        worker: Worker = self.app.state.service.workers.workers[0]
        return worker

    @contextmanager
    def stopped_worker(self) -> Iterator[int]:
        """Suspend the worker's process during the block; yields its id."""
        pid = self.worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            if self.worker.pid == pid:
                with suppress(ProcessLookupError):  # killed, but not yet reaped
                    os.kill(pid, signal.SIGCONT)

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


@contextmanager
def running(settings: Settings, host: str = "127.0.0.1") -> Iterator[RunningServer]:
    app = create_app(settings)
    listener = socket.create_server((host, 0))
    http = settings.http
    certificate = Certificate(http, app.state.metrics) if http.has_tls else None
    server = GracefulServer(
        server_config(app, http, certificate),
        app.state.shutdown,
        http.shutdown_grace_s,
        certificate,
    )
    scheme = "https" if http.has_tls else "http"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    log: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = log.append  # type: ignore[method-assign]
    logging.getLogger("service").addHandler(handler)
    logging.getLogger("service").setLevel(logging.INFO)
    thread.start()
    try:
        yield RunningServer(app, settings, f"{scheme}://{host}:{listener.getsockname()[1]}", log)
    finally:
        server.handle_exit(signal.SIGINT, None)  # ends the console's streams
        server.should_exit = True
        thread.join(TIMEOUT_S)
        listener.close()
        logging.getLogger("service").removeHandler(handler)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def start_server() -> Callable[[Settings], Any]:
    return running


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Wait until a condition holds, and return its value."""

    def wait(condition: Callable[[], Any], what: str = "the condition") -> Any:
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"{what} did not hold within {TIMEOUT_S} s")

    return wait


@pytest.fixture(scope="session")
def server(weights: Path, eventually: Callable[..., Any]) -> Iterator[RunningServer]:
    """One ready server for all tests; tests can reach each of its small limits."""
    settings = Settings(
        versions=VersionSettings(weights_dir=weights),
        workers=WorkerSettings(
            max_batch_size=4,
            batch_efficiency=1.0,
            heartbeat_timeout_ms=120_000,
            max_queue_size=5,
            restart_backoff_s=0.1,
            stop_grace_s=2,
            threads_per_worker=1,
        ),
        http=HttpSettings(request_timeout_ms=120_000, max_request_bytes=500_000),
        inspection=InspectionSettings(
            max_image_bytes=200_000, max_image_pixels=40_000, decode_threads=4
        ),
        api=ApiSettings(max_files_per_request=6),
    )
    with running(settings) as server:
        eventually(lambda: is_ready(server), "readiness")
        with server.client() as client:
            server.fresh_metrics = client.get("/metrics").text
        yield server


def is_ready(server: RunningServer) -> bool:
    with server.client() as client:
        return client.get("/readyz").status_code == 200


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def problem() -> Callable[..., dict[str, Any]]:
    """Check that a response is the expected problem; return its body."""

    def check(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        body: dict[str, Any] = json.loads(response.content)
        assert body["type"] == f"urn:mambaad:problem:{slug}"
        assert body["status"] == status
        assert body["title"]
        assert body["detail"]
        assert body["error"] == body["detail"]
        assert body["request_id"] == response.headers["x-request-id"]
        return body

    return check


@pytest.fixture
def line(tmp_path: Path, metrics: Metrics) -> Line:
    """A service whose workers answer at once; see `Line`."""
    settings = Settings(
        versions=VersionSettings(weights_dir=tmp_path),
        inspection=InspectionSettings(
            max_image_bytes=200_000, max_image_pixels=40_000, fail_safe="STOP"
        ),
        http=HttpSettings(max_request_bytes=800_000),
        api=ApiSettings(max_files_per_request=6),
    )
    return Line(settings, metrics)


@pytest.fixture(scope="session")
def live_store(tmp_path_factory: pytest.TempPathFactory, weights: Path, save: Any) -> Path:
    """A second version of `parts` serves; another checkpoint serves nothing yet."""
    root = tmp_path_factory.mktemp("live") / "weights"
    shutil.copytree(weights, root)
    save(root, "parts", {"bolt": 10.0, "nut": -10.0})
    return root


@pytest.fixture(scope="session")
def live_service(live_store: Path) -> Iterator[Live]:
    """One `mambaad serve` for all tests of faults; tests can reach each of its small limits."""
    with serving(
        live_store,
        versions__state_dir=live_store.parent / "state",
        workers__batch_efficiency=1,
        workers__max_queue_size=256,
        inspection__max_image_bytes=2_000_000,
        inspection__max_image_pixels=4_000_000,
        http__max_request_bytes=8_000_000,
        api__max_files_per_request=20,
        http__header_timeout_s=2,
        http__body_timeout_s=2,
        http__min_body_bytes_per_s=100_000,
        workers__restart_backoff_s=0.1,
        workers__stop_grace_s=2,
        http__shutdown_grace_s=0,
    ) as live:
        yield live


@pytest.fixture
def live(live_service: Live, image: Callable[..., bytes]) -> Iterator[Live]:
    """Checks after the test that the service is sound."""
    before = len(live_service.tracebacks())
    yield live_service
    live_service.await_health()
    for category, decision in (("bolt", "OK"), ("nut", "NG")):
        result = live_service.inspect(image(), category)
        assert (result["decision"], result["model"]["name"]) == (decision, "parts")
    assert live_service.tracebacks()[before:] == []
    # Prometheus would miss the first event of series that began only now.
    assert live_service.counters() - live_service.counted_from_start == set()

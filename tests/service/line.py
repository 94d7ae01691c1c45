"""A service whose workers answer at once, by the category's name: no network, no process."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np

from model.calibration.calibration import Calibration
from model.checkpoints.key import CheckpointKey
from model.images.preprocess import Preprocessing
from model.inspection import Decision
from service.api.detect.batch import DetectBatchLimits, DetectDoor
from service.api.detect.idempotency import Answers
from service.api.limits import BodyLimits
from service.api.service import Service
from service.app import create_app
from service.errors import NonFiniteResult, NoSuchCategory
from service.http.request_log import RequestLog
from service.inspection.drift import DriftMonitor
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.preparing import Preparer
from service.inspection.inspect_part import InspectPart
from service.inspection.observers import (
    LogObserver,
    MetricsObserver,
    Observer,
    Observers,
    TracingObserver,
)
from service.inspection.pipeline import Pipeline
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing
from service.versions.registry import Route
from service.workers.pipe.messages import Finding

DECISIONS = {
    "bolt": Decision.OK,
    "nut": Decision.NG,
    "doubt": Decision.REVIEW,
    "half": Decision.NG,
}
RAMP = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


class Line:
    """Posts to an application without a socket; `jobs` are those that its workers received."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.app = create_app(settings)
        self.jobs: list[Any] = []
        self.silent_widths: set[int] = set()
        self.tracing = Tracing()
        self.observers: list[Observer] = []
        self.shutdown = self.app.state.shutdown
        self.answers = Answers(3, 20_000, 3600.0, metrics)
        self.admit_error: Callable[[], Exception | None] = lambda: None
        self.archive = self.app.state.archive
        self.recorder = self.archive and self.archive.recorder

    def trace_with(self, tracing: Tracing) -> None:
        self.tracing = tracing
        log = next(layer for layer in self.app.user_middleware if layer.cls is RequestLog)
        log.kwargs["tracing"] = tracing

    def find(self, category: str, canary_key: str | None = None) -> Route:
        if category == "nothing":
            raise NoSuchCategory(f"no checkpoint serves the category {category!r}")
        preprocessing = Preprocessing(
            image_size=(64, 64), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        )
        calibration = Calibration(0.5, 0.5, 0.1, 0.1, 0.01, 100)
        key = CheckpointKey("parts", "1")
        return Route(
            category=category,
            checkpoint=key,
            preprocessing=preprocessing,
            calibration=calibration,
            license=None,
            notice=None,
        )

    def answering(self, category: str) -> list[Route]:
        return [self.find(category)]

    def admit(self, *_: object) -> None:
        error = self.admit_error()
        if error:
            raise error

    def submit(self, job: Any) -> None:
        self.jobs.append(job)
        category = job.item.category
        if category == "crash":
            raise RuntimeError("a mistake of ours")
        if category == "silence" or job.item.image_size.width in self.silent_widths:
            return
        job.taken_at = job.queued_at
        loop = asyncio.get_running_loop()
        if category == "ghost":
            loop.call_soon(job.fail, NonFiniteResult("not a finite number"))
            return
        self.answer(job)

    def answer(self, job: Any) -> None:
        job.taken_at = job.queued_at
        category, loop = job.item.category, asyncio.get_running_loop()
        decision = DECISIONS[category]
        scores = RAMP if job.item.sends_map(decision) else None
        finding = Finding(decision, 0.4, 0.4, 0.5, (), {"encoder": 1.0}, scores)
        loop.call_soon(lambda: job.future.done() or job.future.set_result(finding))

    def service(self, threads: ThreadPoolExecutor) -> Service:
        limits = BodyLimits(
            self.settings.inspection.max_image_bytes,
            self.settings.http.max_request_bytes,
            self.settings.api.max_files_per_request,
        )
        pipeline = Pipeline(
            self,  # type: ignore[arg-type]
            threads,
            Preparer(
                ImageLimits(
                    self.settings.inspection.max_image_bytes,
                    self.settings.inspection.max_image_pixels,
                )
            ),
            max_preparing=64,
            timeout_s=30.0,
        )
        drift = DriftMonitor(self.metrics)
        observers = Observers(
            [
                MetricsObserver(self.metrics),
                drift,
                LogObserver(),
                TracingObserver(self.tracing),
                *self.observers,
            ],
            self.metrics,
        )
        batches = DetectBatchLimits(
            replace(limits, max_files=20), timeout_s=60.0, at_once=4, leaving_s=5.0
        )
        self.app.state.detect = DetectDoor(batches, self.answers, self.shutdown)
        return Service(
            registry=self, workers=self, readiness=None,
            inspect_part=InspectPart(self, pipeline, observers, self.recorder), lifecycle=None,
            rollout=None, shadows=None, limits=limits, metrics=self.metrics,
            drift=drift, recorder=self.recorder,
        )  # type: ignore[arg-type] # fmt: skip

    def run(self, scenario: Callable[[httpx.AsyncClient], Any]) -> Any:
        async def go() -> Any:
            with ThreadPoolExecutor(2) as threads:
                self.app.state.service = self.service(threads)
                transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
                async with httpx.AsyncClient(
                    transport=transport, base_url="http://127.0.0.1"
                ) as client:
                    return await scenario(client)

        return asyncio.run(go())

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.run(lambda client: client.post(path, **options))

    def get(self, path: str) -> httpx.Response:
        return self.run(lambda client: client.get(path))

    def detect(self, content: bytes, **fields: str) -> httpx.Response:
        return self.post("/detect", params=fields, content=content)

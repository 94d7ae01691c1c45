"""All wiring: makes a FastAPI application from settings."""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from model.checkpoints.store import Store
from service.access.gate import Gate, takes_key
from service.access.guard import Guard
from service.api import health as operations
from service.api.admin import routes as admin
from service.api.detect import routes
from service.api.detect.batch import DetectBatchLimits, DetectDoor
from service.api.detect.idempotency import Answers
from service.api.docs_page import documented_app
from service.api.inspections import routes as inspections
from service.api.limits import BodyLimits
from service.api.lookout import projects as lookout_projects
from service.api.lookout import routes as lookout
from service.api.lookout.errors import LookoutErrors
from service.api.requests import check_query
from service.api.service import Service
from service.api.v2 import health as v2_health
from service.api.v2 import routes as v2
from service.background import announce, return_memory
from service.errors import InvalidRequest, ServiceError
from service.http.bodies import BodyBudget, BodyGuard
from service.http.decision_headers import DECISION_HEADER, FAIL_SAFE_HEADER
from service.http.matching import Matching, likely_codes
from service.http.problems import http_problem, problem_of, retry_headers
from service.http.request_log import AnswerHeaders, RequestLog, problem_response, request_id_of
from service.inspection.drift import DriftMonitor
from service.inspection.images.child_pool import DecodeChildren
from service.inspection.images.decoding import ImageLimits
from service.inspection.images.preparing import Preparer
from service.inspection.inspect_part import InspectPart
from service.inspection.observers import LogObserver, MetricsObserver, Observers, TracingObserver
from service.inspection.pipeline import Pipeline
from service.inspection.readiness import ReadinessCheck
from service.inspection.shadow import Shadows
from service.settings import AccessSettings, InspectionSettings, Settings
from service.shutdown import Shutdown
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing, tracing_to
from service.versions.lifecycle import Lifecycle
from service.versions.registry import Registry
from service.versions.rollout import Rollout
from service.versions.state import Deployment
from service.workers.pool import WorkerPool
from service.workers.protocol import Workers

_MAX_FAULTS = 20
_MAX_FIELD_NAME = 200
_PACKAGE = "mambaad-service"


def create_app(settings: Settings, on_ready: Callable[[], None] | None = None) -> FastAPI:
    """Build the service; its workers start with the application's lifespan.

    `on_ready` is called once, on the event loop, when the service is first ready. Raises
    `KeysUnusable`, `StateUnreadable` and `TracingUnavailable`.
    """
    tracing = tracing_to(settings.telemetry.trace_endpoint, _version(_PACKAGE))
    metrics = Metrics(CollectorRegistry())
    metrics.build_info.labels(_version(_PACKAGE), platform.python_version(), _version("torch")).set(
        1
    )
    deployment = Deployment.claim(settings.versions.state_dir)
    registry = Registry(Store(settings.versions.weights_dir), metrics, deployment.state)

    lifespan = _lifespan(settings, registry, deployment, metrics, tracing, on_ready)
    app = documented_app(lifespan, _version(_PACKAGE))
    app.state.shutdown = Shutdown()
    app.state.metrics = metrics
    app.state.guard = Guard(settings.access, metrics, needs_keys=settings.needs_keys)
    app.state.body_budget = BodyBudget.of(settings.http)
    app.state.detect = _detect_door(settings, app.state.shutdown, metrics)
    _open_doors(app)
    metrics.expect_routes(likely_codes(app.routes))
    _protect(app, settings.access)
    app.add_middleware(
        RequestLog, metrics=metrics, fail_safe=settings.inspection.fail_safe, tracing=tracing
    )
    app.add_middleware(AnswerHeaders, shutdown=app.state.shutdown)
    app.add_middleware(LookoutErrors)
    app.add_middleware(Matching, routes=app.routes)
    return app


def _lifespan(
    settings: Settings,
    registry: Registry,
    deployment: Deployment,
    metrics: Metrics,
    tracing: Tracing,
    on_ready: Callable[[], None] | None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return a lifespan that starts and ends the application's threads and processes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(settings.inspection.decode_threads, "decode") as threads:
            async with (
                _decode_children(settings.inspection, metrics) as children,
                _worker_pool(settings, registry, metrics) as workers,
            ):
                readiness = ReadinessCheck(workers, registry, app.state.shutdown)
                app.state.service = service = _service(
                    settings,
                    registry,
                    deployment,
                    workers,
                    readiness,
                    threads,
                    children,
                    metrics,
                    tracing,
                )
                beside = [
                    asyncio.create_task(announce(readiness, on_ready)),
                    asyncio.create_task(return_memory()),
                ]
                yield
                for task in beside:
                    task.cancel()
                await service.shadows.close()
                await service.lifecycle.close()
        await asyncio.to_thread(tracing.close)
        deployment.release()

    return lifespan


def _open_doors(app: FastAPI) -> None:
    """Include every router; all but the health routes check keys and queries."""
    guarded = [Depends(takes_key), Depends(check_query)]
    app.include_router(routes.router, dependencies=guarded)
    app.include_router(operations.router)
    app.include_router(v2_health.router)
    app.include_router(v2.router, dependencies=guarded)
    app.include_router(lookout.router, dependencies=guarded)
    app.include_router(lookout_projects.router, dependencies=guarded)
    app.include_router(admin.router, dependencies=guarded)
    app.include_router(inspections.router, dependencies=guarded)


def _protect(app: FastAPI, settings: AccessSettings) -> None:
    """Add error handlers and guards; the middleware added last runs first."""
    app.add_exception_handler(ServiceError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_middleware(BodyGuard, budget=app.state.body_budget, metrics=app.state.metrics)
    app.add_middleware(
        Gate, guard=app.state.guard, metrics_require_key=settings.metrics_require_key
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After", DECISION_HEADER, FAIL_SAFE_HEADER],
        )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _worker_pool(settings: Settings, registry: Registry, metrics: Metrics) -> WorkerPool:
    return WorkerPool(
        settings.workers,
        registry.checkpoints,
        metrics,
        registry.report,
        weights_dir=settings.versions.weights_dir,
        logs=settings.telemetry,
    )


def _decode_children(settings: InspectionSettings, metrics: Metrics) -> DecodeChildren:
    return DecodeChildren(
        settings.decode_processes,
        ImageLimits.of(settings).decoding,
        settings.max_decode_ms / 1000,
        lambda reason: metrics.decode_children_ended.labels(reason).inc(),
    )


def _service(
    settings: Settings,
    registry: Registry,
    deployment: Deployment,
    workers: Workers,
    readiness: ReadinessCheck,
    threads: ThreadPoolExecutor,
    children: DecodeChildren,
    metrics: Metrics,
    tracing: Tracing,
) -> Service:
    timeout_s = settings.http.request_timeout_ms / 1000
    shadows = Shadows(workers, metrics, settings.workers.max_batch_size, timeout_s)
    pipeline = Pipeline(
        workers,
        threads,
        Preparer(ImageLimits.of(settings.inspection), settings.workers.max_queue_bytes, children),
        _observers(settings.inspection, metrics, tracing, shadows),
        max_preparing=settings.workers.max_queue_size * len(settings.workers.worker_names),
        timeout_s=timeout_s,
    )
    limits = BodyLimits(
        settings.inspection.max_image_bytes,
        settings.http.max_request_bytes,
        settings.api.max_files_per_request,
    )
    metrics.ready.set_function(lambda: float(readiness().ready))
    lifecycle = Lifecycle(registry, workers, drain_s=timeout_s)
    rollout = Rollout(registry, lifecycle, deployment, metrics)
    return Service(
        registry,
        workers,
        readiness,
        InspectPart(registry, pipeline),
        lifecycle,
        rollout,
        shadows,
        limits,
        metrics,
    )


def _observers(
    settings: InspectionSettings, metrics: Metrics, tracing: Tracing, shadows: Shadows
) -> Observers:
    """Return the observers of every inspection."""
    return Observers(
        [
            MetricsObserver(metrics),
            DriftMonitor(metrics, settings.drift_window_parts, settings.drift_max_ng_share),
            LogObserver(),
            TracingObserver(tracing),
            shadows,
        ],
        metrics,
    )


def _detect_door(settings: Settings, shutdown: Shutdown, metrics: Metrics) -> DetectDoor:
    batches = DetectBatchLimits(
        BodyLimits(
            settings.inspection.max_image_bytes,
            settings.http.max_request_bytes,
            settings.api.max_images_per_batch,
        ),
        timeout_s=settings.api.batch_request_timeout_ms / 1000,
        # Fills the next batch while one is computed, and leaves room for others in the queue.
        at_once=2 * settings.workers.max_batch_size * len(settings.workers.worker_names),
        leaving_s=settings.http.request_timeout_ms / 1000,
    )
    answers = Answers(
        settings.api.idempotency_max_answers,
        settings.api.idempotency_max_bytes,
        settings.api.idempotency_ttl_s,
        metrics,
    )
    return DetectDoor(batches, answers, shutdown)


def _answer_error(request: Request, error: Exception) -> Response:
    problem = problem_of(error, request_id_of(request.scope))
    return problem_response(problem, retry_headers(error))


def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    problem = http_problem(error.status_code, detail, request_id_of(request.scope))
    return problem_response(problem, dict(error.headers or {}))


def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        {"field": ".".join(map(str, fault["loc"]))[:_MAX_FIELD_NAME], "message": str(fault["msg"])}
        for fault in error.errors()[:_MAX_FAULTS]
    ]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
    problem = problem_of(InvalidRequest(detail), request_id_of(request.scope))
    return problem_response(problem.model_copy(update={"errors": faults}))

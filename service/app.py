"""All wiring: settings in, a FastAPI application out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from model.checkpoint import CheckpointStore
from service import openapi, operations, routes
from service.decoding import ImageLimits
from service.drift import DriftMonitor
from service.errors import InvalidRequest, ServiceError, http_problem, problem_of, retry_headers
from service.metrics import Metrics
from service.middleware import RequestLog, problem_response, request_id_of
from service.pipeline import Pipeline
from service.pool import WorkerPool
from service.record import Record
from service.registry import Registry
from service.serving import Service
from service.settings import Settings
from service.uploads import BodyLimits


def create_app(settings: Settings, on_ready: Callable[[], None] | None = None) -> FastAPI:
    """Build the service; its workers start with the application's lifespan.

    `on_ready` is called once, on the event loop, when the service is first ready.
    """
    metrics = Metrics(CollectorRegistry())
    registry = Registry(CheckpointStore(settings.weights_dir), metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(settings.decode_threads, "decode") as threads:
            async with WorkerPool(settings, registry, metrics) as workers:
                app.state.service = _service(settings, registry, workers, threads, metrics)
                announcing = asyncio.create_task(_announce(workers, on_ready))
                yield
                announcing.cancel()

    app = FastAPI(
        title="MambaAD inspection service",
        version=_version(),
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
    )
    app.include_router(routes.router)
    app.include_router(operations.router)
    app.add_exception_handler(ServiceError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


def _version() -> str:
    try:
        return version("mambaad-service")
    except PackageNotFoundError:
        return "not installed"


def _service(
    settings: Settings,
    registry: Registry,
    workers: WorkerPool,
    threads: ThreadPoolExecutor,
    metrics: Metrics,
) -> Service:
    drift = DriftMonitor(metrics, settings.drift_window_parts, settings.drift_max_ng_share)
    pipeline = Pipeline(
        workers,
        threads,
        ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        max_preparing=settings.max_queue_size * len(workers.workers),
        timeout_s=settings.request_timeout_ms / 1000,
        record=Record(metrics, drift),
    )
    limits = BodyLimits(
        settings.max_image_bytes, settings.max_request_bytes, settings.max_files_per_request
    )
    return Service(registry, workers, pipeline, limits, metrics)


async def _announce(workers: WorkerPool, on_ready: Callable[[], None] | None) -> None:
    await workers.wait_ready()
    if on_ready:
        on_ready()


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
        {"field": ".".join(map(str, fault["loc"])), "message": str(fault["msg"])}
        for fault in error.errors()
    ]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
    problem = problem_of(InvalidRequest(detail), request_id_of(request.scope))
    return problem_response(problem.model_copy(update={"errors": faults}))

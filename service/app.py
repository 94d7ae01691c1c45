"""All wiring: makes a FastAPI application from settings."""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from model.checkpoints.store import Store
from service.access.gate import Gate, takes_key
from service.access.guard import Guard
from service.access.sessions import Sessions
from service.api import health as operations
from service.api.admin import routes as admin
from service.api.deliveries import routes as deliveries
from service.api.detect import routes
from service.api.detect.direct import DIRECT
from service.api.docs_page import documented_app
from service.api.inspections import recording as inspection_recording
from service.api.inspections import routes as inspections
from service.api.lookout import projects as lookout_projects
from service.api.lookout import routes as lookout
from service.api.lookout.errors import LookoutErrors
from service.api.refused_parts import RefusedParts
from service.api.requests import check_query
from service.api.submissions import ARCHIVED_HEADER, REPLAYED_HEADER
from service.api.v2 import health as v2_health
from service.api.v2 import routes as v2
from service.assembly.archiving import open_archive
from service.assembly.foundations import Foundations
from service.assembly.inspecting import decode_children, detect_door, service_of, worker_pool
from service.assembly.state import OpenState, open_state
from service.background import announce, return_memory, watch
from service.console import routes as console_pages
from service.console.board.traffic import Traffic
from service.console.console import open_console
from service.console.problems import PageProblems
from service.console.review.claims import Claims
from service.console.routes import SIGN_IN
from service.errors import InvalidRequest, ServiceError
from service.http.bodies import BodyBudget, BodyGuard
from service.http.decision_headers import DECISION_HEADER, FAIL_SAFE_HEADER
from service.http.direct import Direct
from service.http.inspection_ids import INSPECTION_ID_HEADER
from service.http.matching import Matching, likely_codes
from service.http.problems import http_problem, problem_of, retry_headers
from service.http.request_log import AnswerHeaders, RequestLog, problem_response, request_id_of
from service.inspection.readiness import ReadinessCheck
from service.settings import AccessSettings, Settings
from service.shutdown import Shutdown
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import tracing_to
from service.versions.registry import Registry

_MAX_FAULTS = 20
_MAX_FIELD_NAME = 200
_PACKAGE = "mambaad-service"
_EXPOSED_HEADERS = [
    "X-Request-ID", "Retry-After", DECISION_HEADER, FAIL_SAFE_HEADER,
    INSPECTION_ID_HEADER, ARCHIVED_HEADER, REPLAYED_HEADER,
]  # fmt: skip


def create_app(settings: Settings, on_ready: Callable[[], None] | None = None) -> FastAPI:
    """Build the service; its workers start with the application's lifespan.

    `on_ready` is called once, on the event loop, when the service is first ready. Raises
    `KeysUnusable`, `StateUnreadable`, `ArchiveUnusable` and `TracingUnavailable`.
    """
    metrics = _metrics()
    state = open_state(settings, metrics)  # locks the state folder
    try:
        guard = Guard(settings.access, metrics, needs_keys=settings.needs_keys, keys=state.keys)
        base = _foundations(settings, metrics, state)
    except BaseException:
        state.release()
        raise
    app = documented_app(_lifespan(base, on_ready), _version(_PACKAGE))
    app.state.shutdown = Shutdown()
    app.state.metrics = metrics
    app.state.settings = settings
    app.state.traffic = Traffic(metrics)
    app.state.guard = guard
    app.state.body_budget = BodyBudget.of(settings.http)
    app.state.detect = detect_door(settings, app.state.shutdown, metrics)
    app.state.archive = base.archive
    app.state.archive_settings = settings.archive
    journal = base.archive.journal if base.archive else None
    console = open_console(settings, guard, journal) if settings.console.enabled else None
    app.state.console = console
    app.state.review_claims = Claims()
    _open_doors(app)
    metrics.expect_routes(likely_codes(app.routes))
    _protect(app, settings.access, console.sessions if console else None)
    if base.archive is not None:
        app.state.inspections = base.archive.door
        app.state.purger = base.archive.purger
        app.state.deliveries = base.archive.deliveries
        app.add_middleware(RefusedParts, recorder=base.archive.recorder)
    app.add_middleware(
        RequestLog, metrics=metrics, fail_safe=settings.inspection.fail_safe, tracing=base.tracing
    )
    app.add_middleware(AnswerHeaders, shutdown=app.state.shutdown)
    app.add_middleware(LookoutErrors)
    if console is not None:
        app.add_middleware(PageProblems, sign_in=SIGN_IN)
    app.add_middleware(Matching, routes=app.routes)
    return app


def _metrics() -> Metrics:
    metrics = Metrics(CollectorRegistry())
    versions = (_version(_PACKAGE), platform.python_version(), _version("torch"))
    metrics.build_info.labels(*versions).set(1)
    return metrics


def _foundations(settings: Settings, metrics: Metrics, state: OpenState) -> Foundations:
    tracing = tracing_to(settings.telemetry.trace_endpoint, _version(_PACKAGE))
    store = Store(settings.versions.weights_dir)
    registry = Registry(store, metrics, state.deployment.state)
    archive = open_archive(settings, metrics)
    return Foundations(settings, metrics, tracing, state, registry, archive)


def _lifespan(
    base: Foundations, on_ready: Callable[[], None] | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return a lifespan that starts and ends the application's threads and processes."""
    settings = base.settings
    refusing = [base.archive.recorder.refusing] if base.archive else []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(settings.inspection.decode_threads, "decode") as threads:
            async with (
                base.archive.running() if base.archive else nullcontext(),
                decode_children(settings.inspection, base.metrics) as children,
                worker_pool(base) as workers,
            ):
                readiness = ReadinessCheck(workers, base.registry, app.state.shutdown, *refusing)
                app.state.service = service = service_of(
                    base, workers, readiness, threads, children
                )
                beside = [
                    asyncio.create_task(announce(readiness, on_ready)),
                    asyncio.create_task(return_memory()),
                    asyncio.create_task(watch(app.state.traffic)),
                ]
                if sharing := base.state.sharing:
                    sharing.follower.start()
                    beside.append(asyncio.create_task(sharing.apply(service.rollout)))
                yield
                for task in beside:
                    task.cancel()
                await service.shadows.close()
                await service.lifecycle.close()
                service.rollout.close()
                await service.inspect_part.settle()
        if app.state.console is not None:
            await asyncio.to_thread(app.state.console.previewer.close)
        await asyncio.to_thread(base.tracing.close)
        await asyncio.to_thread(base.state.release)

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
    app.include_router(deliveries.router, dependencies=guarded)
    app.include_router(inspection_recording.router, dependencies=guarded)
    if app.state.console is not None:
        app.include_router(console_pages.router)


def _protect(app: FastAPI, settings: AccessSettings, sessions: Sessions | None) -> None:
    """Add error handlers and guards; the middleware added last runs first."""
    errors = {
        ServiceError: _answer_error,
        HTTPException: _answer_http_error,
        RequestValidationError: _answer_validation_error,
    }
    for error, handler in errors.items():
        app.add_exception_handler(error, handler)
    app.add_middleware(Direct, answers=DIRECT, errors=errors)
    app.add_middleware(BodyGuard, budget=app.state.body_budget, metrics=app.state.metrics)
    app.add_middleware(
        Gate,
        guard=app.state.guard,
        metrics_require_key=settings.metrics_require_key,
        sessions=sessions,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=_EXPOSED_HEADERS,
        )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


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

"""The routes of the status page; each only reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.station.pages.access import Access
from service.station.pages.board import Board
from service.station.pages.metrics import MetricsWatcher
from service.station.pages.page import Page
from service.station.pages.service_watch import ServiceWatch
from service.station.pages.status import StatusWriter
from service.station.pages.stream import Stream, TooManyBrowsers
from service.station.reports import Vitals
from service.station.settings import StatusSettings

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icons.svg": "image/svg+xml",
}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the routes read."""

    board: Board
    vitals: Callable[[], Vitals]
    writer: StatusWriter
    metrics: MetricsWatcher
    service: ServiceWatch
    page: Page
    stream: Stream


def create_app(sources: Sources, settings: StatusSettings) -> Starlette:
    """Return the application, which answers only those that the settings allow."""
    routes = _Routes(sources)
    return Starlette(
        routes=[
            Route("/", routes.page),
            Route("/parts/{job:int}", routes.part),
            Route("/pictures/{job:int}/{camera}/{size}.jpg", routes.picture),
            Route("/events", routes.events),
            Route("/status.json", routes.status),
            Route("/metrics", routes.metrics),
            Route("/live", routes.live),
            Route("/ready", routes.ready),
            Route("/static/{name}", routes.static),
        ],
        middleware=[Middleware(Access, allow=settings.allow, names=settings.names)],
    )


class _Routes:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def page(self, request: Request) -> Response:
        """Return the page."""
        status = self._sources.writer.status()
        return HTMLResponse(self._sources.page.whole(status))

    async def part(self, request: Request) -> Response:
        """Return one of the latest parts, with its pictures large."""
        status = self._sources.writer.status()
        job = request.path_params["job"]
        for result in status["results"]:
            if result["job"] == job:
                return HTMLResponse(self._sources.page.part(status["station"], result))
        return _not_found()

    async def picture(self, request: Request) -> Response:
        """Return a picture of one of the latest parts."""
        parameters = request.path_params
        pictures = self._sources.board.snapshot().pictures.get(parameters["job"], {})
        picture = pictures.get(parameters["camera"])
        if picture is None or parameters["size"] not in ("small", "large"):
            return _not_found()
        content = picture.small if parameters["size"] == "small" else picture.large
        return Response(
            content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"}
        )

    async def events(self, request: Request) -> "_Events":
        """Return the live updates."""
        return _Events(self._sources.stream)

    async def status(self, request: Request) -> Response:
        """Return the status for programs."""
        return JSONResponse(self._sources.writer.status())

    async def metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus."""
        sources = self._sources
        snapshot, vitals = sources.board.snapshot(), sources.vitals()
        cameras = sources.writer.cameras_up(snapshot, vitals)
        text = sources.metrics.text(
            snapshot.image,
            vitals,
            is_plc_up=sources.writer.is_plc_up(snapshot, vitals) is not False,
            cameras_up={name: is_up for name, is_up in cameras.items() if is_up is not None},
            is_service_up=bool(sources.service.state.is_up),
        )
        return Response(text, media_type=_METRICS)

    async def live(self, request: Request) -> Response:
        """Answer 200 while the station makes its steps, else 503."""
        is_live = self._sources.writer.is_live(self._sources.board.snapshot())
        return _answer(is_live, "live", "the station makes no steps")

    async def ready(self, request: Request) -> Response:
        """Answer 200 while the station takes parts, else 503 with its state."""
        snapshot = self._sources.board.snapshot()
        is_ready = self._sources.writer.is_ready(snapshot)
        return _answer(is_ready, "ready", f"not ready: {snapshot.image.state.name}")

    async def static(self, request: Request) -> Response:
        """Return the style, the script, or the icons."""
        name = request.path_params["name"]
        if name not in _FILES:
            return _not_found()
        headers = {"Content-Type": _FILES[name], "Cache-Control": "no-cache"}
        return FileResponse(_STATIC / name, headers=headers)


class _Events:
    """Sends one browser its updates until it goes; answers 503 to a browser too many."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await Response(media_type="text/event-stream")(scope, receive, send)
            return
        try:
            browser = self._stream.enter()
        except TooManyBrowsers:
            full = PlainTextResponse("Too many browsers have live updates.\n", 503)
            await full(scope, receive, send)
            return
        try:
            messages = self._stream.messages(browser)
            answer = StreamingResponse(messages, media_type="text/event-stream")
            await answer(scope, receive, send)
        finally:
            self._stream.leave(browser)


def _answer(is_good: bool, word: str, problem: str) -> Response:
    return PlainTextResponse(f"{word if is_good else problem}\n", 200 if is_good else 503)


def _not_found() -> Response:
    return PlainTextResponse("There is no such page.\n", 404)

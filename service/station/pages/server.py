"""Serves the status page from a thread with its own event loop.

The station's loop and this one share the interpreter, which hands over between threads after at
most `SWITCH_S`: so long, and no longer, may a page delay a step of the machine.
"""

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.client import AsyncClient
from service.station.pages.app import Sources, create_app
from service.station.pages.board import Board
from service.station.pages.metrics import MetricsWatcher, StationMetrics
from service.station.pages.page import Page
from service.station.pages.service_watch import ServiceWatch
from service.station.pages.status import StatusWriter
from service.station.pages.stream import Stream
from service.station.reports import Vitals, Watcher
from service.station.settings import StationSettings

logger = logging.getLogger("service.pages")

SWITCH_S = 0.001
_CONNECTIONS_BESIDE = 40
"""Connections for pages, pictures, probes and Prometheus, beside the browsers' live updates."""
_FIRST_REQUEST_S = 10.0
_IDLE_S = 15
_FAREWELL_S = 1


class CannotListen(Exception):
    """The page's address or port cannot be used."""


class StatusPages:
    """The page of one station; give its `watchers` to the station."""

    def __init__(self, settings: StationSettings, open_client: Callable[[], AsyncClient]) -> None:
        self._settings = settings
        self._board = Board()
        self._metrics = MetricsWatcher(StationMetrics(CollectorRegistry()), settings)
        self._service = ServiceWatch(open_client)
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._stream: Stream | None = None
        self.watchers: tuple[Watcher, ...] = (self._board, self._metrics)

    @property
    def url(self) -> str:
        """The page's address for a browser on this host."""
        assert self._listener is not None
        host, port = self._listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def listen(self) -> None:
        """Take the port. Raises `CannotListen`."""
        status = self._settings.status
        try:
            family = socket.AF_INET6 if ":" in status.host else socket.AF_INET
            self._listener = socket.create_server(
                (status.host, status.port or 0), family=family, backlog=128
            )
        except OSError as error:
            raise CannotListen(
                f"no status page: cannot listen on {status.host}:{status.port}: {error.strerror}; "
                "set status.port in the station's file"
            ) from error

    def start(self, vitals: Callable[[], Vitals]) -> None:
        """Serve from now on; `vitals` is that of an open station."""
        assert self._listener is not None
        sys.setswitchinterval(SWITCH_S)
        self._board.start()
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(vitals, started)), name="pages", daemon=True
        )
        self._thread.start()
        started.wait()

    def close(self) -> None:
        """End all live updates and connections."""
        if self._thread is not None and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._end)
            self._thread.join()
            self._board.close()
        if self._listener is not None:
            self._listener.close()

    def _end(self) -> None:
        assert self._stream is not None
        assert self._server is not None
        self._stream.close()
        self._server.should_exit = True

    async def _serve(self, vitals: Callable[[], Vitals], started: threading.Event) -> None:
        writer = StatusWriter(self._settings, self._board, vitals, lambda: self._service.state)
        page = Page()
        stream = Stream(
            render=lambda: page.fragments(writer.status()),
            version=lambda: self._board.version,
            most=self._settings.status.max_browsers,
        )
        sources = Sources(self._board, vitals, writer, self._metrics, self._service, page, stream)
        self._loop, self._stream = asyncio.get_running_loop(), stream
        self._server = uvicorn.Server(self._config(create_app(sources, self._settings.status)))
        started.set()
        background = [asyncio.create_task(work) for work in (stream.run(), self._service.run())]
        try:
            await self._server.serve(sockets=[self._listener] if self._listener else None)
        except Exception:
            logger.exception("the status page has ended; the station goes on")
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)

    def _config(self, app: Any) -> uvicorn.Config:  # noqa: ANN401 - as uvicorn types it
        most = self._settings.status.max_browsers + _CONNECTIONS_BESIDE

        class Connection(_Connection):
            most_connections = most

        return uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_FAREWELL_S,
        )


class _Connection(H11Protocol):
    """Closes a connection too many, and one that asks nothing: they use up file descriptors."""

    most_connections = _CONNECTIONS_BESIDE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or end it at once."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self.loop.call_later(_FIRST_REQUEST_S, self._end_if_silent)

    def _end_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

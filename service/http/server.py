"""The server around the application: its socket, its limits and its shutdown.

On SIGTERM or SIGHUP the service is not ready at once, but serves for a grace in which load
balancers notice. Then it accepts no more connections and finishes its requests. A second signal
ends the grace, a third drops unfinished requests. SIGINT, from a terminal, has no grace. SIGHUP
stays ignored if it was ignored at the start (`nohup`).
"""

import asyncio
import contextlib
import logging
import math
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.http.tls.certificate import RECHECK_S, Certificate
from service.settings.http import HttpSettings
from service.shutdown import Shutdown

try:
    import resource
except ImportError:  # only Unix has it
    resource = None  # type: ignore[assignment]

logger = logging.getLogger("service.server")

_OTHER_FILES = 256
"""Open files for other purposes than connections: pipes, shared memory, checkpoints."""


class CannotListen(Exception):
    """The service cannot listen on the address, or not for `max_connections`."""


def server_config(
    app: FastAPI, settings: HttpSettings, certificate: Certificate | None = None
) -> uvicorn.Config:
    """Configure uvicorn for the application; with a certificate, connections are encrypted."""
    connections: dict[str, Any] = {
        "http": "auto",
        "limit_concurrency": settings.max_connections + 1,
    }
    if settings.connection_limits:
        # Imported here because a newer uvicorn may break it, and this setting avoids it.
        from service.http.connection import connection_class  # noqa: PLC0415

        connections = {"http": connection_class(settings, app.state.metrics, certificate)}
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        **connections,
        loop="asyncio",  # uvloop is not faster here, and its clock is coarse
        log_config=None,  # the service configures logging and logs each request itself
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),  # any other sender may forge them
        forwarded_allow_ips=list(settings.trusted_proxies),
        ws="none",
        lifespan="on",
        # `Connection` enforces the exact limit if connection_limits is set.
        timeout_keep_alive=math.ceil(settings.keep_alive_s) + settings.connection_limits,
        timeout_graceful_shutdown=math.ceil(
            settings.request_timeout_ms / 1000 + settings.body_timeout_s + 1
        ),
    )
    if certificate is not None and not settings.connection_limits:
        config.load()
        config.ssl = certificate.following_context()
    return config


def listen(settings: HttpSettings) -> socket.socket:
    """Bind the address. Raises `CannotListen`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With IPPROTO_TCP asyncio turns Nagle's algorithm off, which adds 40 ms to most answers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}"
        ) from error
    listener.set_inheritable(False)  # else a worker would hold the port of a dead front process
    return listener


def fit_open_files(settings: HttpSettings) -> HttpSettings:
    """Raise the process's limit of open files, or lower the default of `max_connections` to fit.

    Raises `CannotListen` if an explicit `max_connections` does not fit, or if none fits.
    """
    needed = settings.max_connections + _OTHER_FILES
    allowed = _raise_open_files(needed)
    if allowed >= needed:
        return settings
    fitting = allowed - _OTHER_FILES
    if "max_connections" in settings.model_fields_set or fitting < 1:
        raise CannotListen(
            f"MAMBAAD_HTTP__MAX_CONNECTIONS is {settings.max_connections}, which needs {needed} "
            f"open files, but this process may have {allowed}: raise its limit (`ulimit -n "
            f"{needed}`), or set MAMBAAD_HTTP__MAX_CONNECTIONS to {max(1, fitting)}"
        )
    logger.warning(
        "accepting at most %d connections, not %d, because this process may have %d open files; "
        "run `ulimit -n %d` before the start to allow all",
        fitting,
        settings.max_connections,
        allowed,
        needed,
    )
    return settings.model_copy(update={"max_connections": fitting})


def _raise_open_files(count: int) -> int:
    """Raise the limit of open files to at most `count`; return the allowed number."""
    if resource is None:
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return count
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


class GracefulServer(uvicorn.Server):
    """uvicorn's server with a grace before its shutdown."""

    def __init__(
        self,
        config: uvicorn.Config,
        shutdown: Shutdown,
        grace_s: float,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._shutdown = shutdown
        self._grace_s = grace_s
        self._leave_at = math.inf
        self._following: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGHUP too, which uvicorn does not."""
        with super().capture_signals():
            number = getattr(signal, "SIGHUP", None)  # only Unix has it
            is_main = threading.current_thread() is threading.main_thread()
            if number is None or not is_main or signal.getsignal(number) == signal.SIG_IGN:
                yield
                return
            before = signal.signal(number, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(number, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown, or speed it up with a further signal."""
        if not self._shutdown.begun:
            self._shutdown.begin()
            grace_s = 0.0 if sig == signal.SIGINT else self._grace_s
            self._leave_at = time.monotonic() + grace_s
        elif not self.should_exit:
            self._leave_at = -math.inf
        else:
            self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and follow the files of the certificate."""
        await super().startup(sockets)
        if self._certificate is not None:
            self._following = asyncio.create_task(_follow(self._certificate))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish all requests."""
        if self._following is not None:
            self._following.cancel()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Check for the end of the grace; uvicorn calls this ten times a second."""
        self.should_exit = self.should_exit or time.monotonic() >= self._leave_at
        return await super().on_tick(counter)


async def _follow(certificate: Certificate) -> None:
    while True:
        await asyncio.sleep(RECHECK_S)
        await certificate.follow()

"""HTTP: `POST /trigger` answers with the result of the part.

Starlette on uvicorn, in the station's event loop. An answer needs no delivery: a client that left
before it came sends the same trigger again.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from model.bounded import read_regular
from service.station.machine.images import StationImage
from service.station.plc.door import DoorClosed, Heard
from service.station.plc.listening import cannot_listen
from service.station.plc.requests.connections import connection_class
from service.station.plc.requests.desk import Desk
from service.station.plc.requests.ledger import Entry
from service.station.plc.requests.routes import application
from service.station.reports import PartReport
from service.station.settings.requests import HttpDoorSettings

_MOST_HEADER_BYTES = 16_384
_GRACE_S = 2
_KEEP_ALIVE_S = 60
_MOST_TOKEN_BYTES = 4_096


class HttpDoor:
    """The server; see `PlcDoor`."""

    def __init__(self, settings: HttpDoorSettings, heard: Heard) -> None:
        self._settings = settings
        self._desk = Desk(settings, heard, self._deliver)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._notes: set[asyncio.Task[None]] = set()
        self._port = settings.port

    @property
    def address(self) -> str:
        """The server's address, with the port that it got."""
        scheme = "https" if self._settings.certificate_file else "http"
        return f"{scheme}://{self._settings.host}:{self._port}"

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._port

    @property
    def clients(self) -> int:
        """The number of connected clients."""
        return len(self._server.server_state.connections) if self._server else 0

    async def check(self) -> str:
        """Read the token and the certificate, and listen for a moment. Raises `DoorClosed`."""
        token = self._token()
        self._config(token)
        self._listen().close()
        networks = ", ".join(map(str, self._settings.allow))
        return f"can listen; {networks} may connect{', with a token' if token else ''}"

    async def open(self) -> None:
        """Listen. Raises `DoorClosed`."""
        config = self._config(self._token())
        listener = self._listen()
        try:
            await self._desk.open()
        except BaseException:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([listener]))

    def show(self, image: StationImage) -> None:
        """Note what the station shows."""
        self._desk.see(image)

    def told(self, report: PartReport) -> None:
        """Add the inspections to the part's answer."""
        self._desk.told(report)

    async def close(self) -> None:
        """Answer all that wait, and end all connections."""
        await self._desk.finish()
        await self._desk.close()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._server = None

    def _deliver(self, entry: Entry) -> None:
        """Note that there is nothing to send: the client that waits has the answer."""
        task = asyncio.create_task(self._desk.delivered(entry))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    def _token(self) -> str | None:
        """Return the token. Raises `DoorClosed`."""
        file = self._settings.token_file
        if file is None:
            return None
        token = _read_text(file)
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise DoorClosed(f"the token in {file} is empty or has a character that is no token's")
        return token

    def _config(self, token: str | None) -> uvicorn.Config:
        """Return the server's configuration. Raises `DoorClosed`."""
        settings = self._settings
        config = uvicorn.Config(
            application(self._desk, token),
            http=connection_class(settings),
            ssl_certfile=settings.certificate_file,
            ssl_keyfile=settings.key_file,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            files = f"{settings.certificate_file} or {settings.key_file}"
            raise DoorClosed(f"the certificate in {files} cannot be read: {error}") from error
        return config

    def _listen(self) -> socket.socket:
        """Return a socket that listens. Raises `DoorClosed`."""
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family)
        except OSError as error:
            raise cannot_listen(host, port, "HTTP", error) from error


class _Server(uvicorn.Server):
    """Leaves signals to the station."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _read_text(file: Path) -> str:
    """Return a small text. Raises `DoorClosed`."""
    try:
        return read_regular(file, _MOST_TOKEN_BYTES)[0].decode("utf-8").strip()
    except (OSError, ValueError) as error:
        raise DoorClosed(f"{file} cannot be read: {error}") from error

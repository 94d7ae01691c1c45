"""Connections of the HTTP door, with limits that uvicorn lacks.

Clients of other networks are cut off at once. A client that sends no whole request within
`SILENT_S` is cut off, and so is an idle one if there are too many.
"""

import asyncio
import logging
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.station.settings.base import allows
from service.station.settings.requests import HttpDoorSettings

logger = logging.getLogger("service.clients")

SILENT_S = 10.0
LINGER_S = 1.0


def connection_class(settings: HttpDoorSettings) -> type[asyncio.Protocol]:
    """Return a class of connections with the settings' limits, for uvicorn's config."""
    return type("StationConnection", (Connection,), {"settings": settings})


class Connection(H11Protocol):
    """One client's connection."""

    settings: HttpDoorSettings
    _silence: asyncio.TimerHandle | None = None
    _latest_s = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a client that is not allowed; if there are too many, cut off an idle one."""
        super().connection_made(transport)
        host = transport.get_extra_info("peername")[0]
        if not allows(self.settings.allow, host):
            logger.warning("refused an HTTP client from %s: it is not in plc.http.allow", host)
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()
        others = [c for c in self.connections if isinstance(c, Connection) and c is not self]
        if len(others) >= self.settings.max_clients:
            logger.warning("cut off an HTTP client: more than %d", self.settings.max_clients)
            idle = [connection for connection in others if connection.is_idle]
            min(idle, key=lambda c: c._latest_s, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a request, not longer than for a whole one."""
        super().data_received(data)
        if self.is_idle:
            self._wait()
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request; a body that is still to come is not waited for."""
        super().on_response_complete()
        self._stop_waiting()
        if self.conn.their_state is h11.SEND_BODY:
            self._wait(LINGER_S)

    def _wait(self, longest_s: float | None = None) -> None:
        if self._silence is None:
            self._latest_s = self.loop.time()
            self._silence = self.loop.call_later(longest_s or SILENT_S, self._cut)

    def _stop_waiting(self) -> None:
        self._latest_s = self.loop.time()
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _cut(self) -> None:
        self._silence = None
        if self.is_idle:
            self.transport.abort()

"""Answers only requests from allowed networks that name this host; adds the headers of safety."""

import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.station.settings.base import Network, allows

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Access:
    """An ASGI middleware. A name of another host is refused: a web page could have rebound it."""

    def __init__(self, app: ASGIApp, allow: Sequence[Network], names: Iterable[str]) -> None:
        self._app = app
        self._allow = allow
        self._names = {"localhost", socket.gethostname(), socket.getfqdn(), *names}
        self._names = {name.lower() for name in self._names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_safely)
        else:
            await PlainTextResponse(refusal, 403)(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> str | None:
        client = scope["client"]
        if client is None or not allows(self._allow, client[0]):
            return "This network is not in status.allow of the station's file.\n"
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if not self._is_this_host(host):
            return "This host name is not in status.names of the station's file.\n"
        return None

    def _is_this_host(self, host: str) -> bool:
        """Whether a Host header has an address, or a name of this host."""
        name = _without_port(host)
        if name.lower() in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]

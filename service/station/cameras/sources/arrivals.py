"""HTTP over sockets that know since when they have been empty: what arrives next is younger.

transport = NotingTransport()
client = httpx.Client(transport=transport)
transport.empty_at_s
"""

import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx


class NotingTransport(httpx.BaseTransport):
    """A transport of httpx with one connection at a time."""

    def __init__(self) -> None:
        self.empty_at_s = time.monotonic()
        """The latest monotonic time at which nothing waited to be read, before the latest read."""
        self._pool = httpcore.ConnectionPool(
            network_backend=_NotingBackend(self), max_connections=1
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises `httpcore`'s errors."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _NotingBackend(httpcore.NetworkBackend):
    def __init__(self, notes: NotingTransport) -> None:
        self._notes = notes
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Any = None,  # noqa: ANN401 - as httpcore has it
    ) -> httpcore.NetworkStream:  # fmt: skip
        stream = self._sockets.connect_tcp(host, port, timeout, local_address, socket_options)
        return _NotingStream(stream, self._notes)


class _NotingStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, notes: NotingTransport) -> None:
        self._inner = inner
        self._notes = notes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        now_s = time.monotonic()
        if not self._inner.get_extra_info("is_readable"):
            self._notes.empty_at_s = now_s
        return self._inner.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        stream = self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _NotingStream(stream, self._notes)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore has it
        return self._inner.get_extra_info(info)

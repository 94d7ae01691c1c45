"""A real HTTP receiver on loopback, which answers as a test says, and notes what it takes."""

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "a secret of the receiver"


class Receiver:
    """Answers 200 unless `status` says otherwise; `behaviour` is answer, hang, cut or drip."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.behaviour = "answer"
        self.answer = b"{}"
        self.taken: list[dict[str, Any]] = []
        self.seen: list[str] = []
        """Idempotency keys of all requests, refused ones too."""

        self.refused_parts: set[str] = set()
        self.status_of_refused = 422
        self.unsigned = 0
        self.last: tuple[Mapping[str, str], bytes] = ({}, b"")
        """Headers and body of the last request."""

        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                with suppress(OSError):
                    receiver.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/results"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(length := int(request.headers["Content-Length"]))
        if len(body) < length:  # the sender was killed
            return
        self.seen.append(request.headers["Idempotency-Key"])
        self.last = dict(request.headers), body
        signed = request.headers["X-Mambaad-Timestamp"].encode() + b"." + body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        if request.headers["X-Mambaad-Signature"] != f"v1={expected}":
            self.unsigned += 1
        if self.behaviour == "cut":
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        if self.behaviour == "hang":
            time.sleep(3)
            request.close_connection = True
            return
        message = json.loads(body)
        is_refused = message["part_id"] in self.refused_parts
        status = self.status_of_refused if is_refused else self.status
        if status < 300:
            self.taken.append(message)
        request.send_response(status)
        for name, value in {"Content-Length": str(len(self.answer)), **self.headers}.items():
            request.send_header(name, value)
        if self.behaviour == "drip":
            self._drip(request)
            return
        request.end_headers()
        request.wfile.write(self.answer)

    def _drip(self, request: BaseHTTPRequestHandler) -> None:
        """Send a header that never ends, a byte at a time."""
        request.flush_headers()
        request.wfile.write(b"X-Long: ")
        with suppress(OSError):
            for _ in range(300):
                request.wfile.write(b"x")
                time.sleep(0.02)
        request.close_connection = True

    def secure(self, certificate: Path, key: Path) -> None:
        """Speak TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        """Answer while the block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

"""A TCP proxy on loopback that a test cuts or slows, to see what a broken connection loses."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class CuttingProxy:
    """Forwards to a port; `decide` gets each piece that comes back, and says what to do with it.

    The port is that of loopback, or of another `host`.

    It returns "pass", "cut" (pass the piece, then close), or "drop" (close without the piece).
    """

    def __init__(
        self, target: int, decide: Callable[[bytes], str], host: str = "127.0.0.1"
    ) -> None:
        self._target = (host, target)
        self._decide = decide
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop, once the connections have ended."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            pair = [
                threading.Thread(target=self._forward, args=(near, far, lambda _: "pass")),
                threading.Thread(target=self._forward, args=(far, near, self._decide)),
            ]
            self._threads += [threading.Thread(target=self._until_done, args=(pair, near, far))]
            for thread in pair:
                thread.start()
            self._threads[-1].start()

    @staticmethod
    def _until_done(pair: list[threading.Thread], near: socket.socket, far: socket.socket) -> None:
        for thread in pair:
            thread.join()
        near.close()
        far.close()

    @staticmethod
    def _forward(
        source: socket.socket, target: socket.socket, decide: Callable[[bytes], str]
    ) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                verdict = decide(piece)
                if verdict != "drop":
                    target.sendall(piece)
                if verdict != "pass":
                    break
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

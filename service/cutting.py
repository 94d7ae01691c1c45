"""A time limit for a whole exchange: a socket's own restarts with every byte.

with cutter.limited():
    response = http.send(request)         # raises if the receiver takes longer
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Cutter:
    """Shuts a connection down from another thread, so that whoever waits for it wakes up.

    One thread serves all exchanges of a connection: starting one for each would take longer than
    most of them.
    """

    def __init__(self, limit_s: float, descriptor: Callable[[], int | None]) -> None:
        """`descriptor` returns the file descriptor of the connection; None if there is none."""
        self._limit_s = limit_s
        self._descriptor = descriptor
        self._deadline: float | None = None
        self._armed = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.was_late = False

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Shut the connection down if the block takes too long; `was_late` then says so."""
        self.was_late = False
        self._deadline = time.monotonic() + self._limit_s
        self._armed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="cutter", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._deadline = None

    def cut(self) -> None:
        """Shut the connection down now."""
        descriptor = self._descriptor()
        if descriptor is None or descriptor < 0:
            return
        # A duplicate, so that closing it leaves the connection's own descriptor alone.
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._armed.set()

    def _watch(self) -> None:
        while not self._closed.is_set():
            deadline = self._deadline
            if deadline is None:
                self._armed.clear()
                if self._deadline is None:  # else an exchange began meanwhile
                    self._armed.wait()
            elif (left_s := deadline - time.monotonic()) > 0:
                # Until this exchange would be late; by then another may run, with more time.
                self._closed.wait(left_s)
            elif self._deadline == deadline:
                self.was_late = True
                self.cut()
                self._deadline = None

"""A time limit for a whole exchange: a socket's own restarts with every byte.

with cutter.within(10.0):
    response = http.send(request)         # raises if the receiver takes longer
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Cutter:
    """Shuts a connection down from another thread, so that whoever waits for it wakes up."""

    def __init__(self, descriptor: Callable[[], int | None]) -> None:
        """`descriptor` returns the file descriptor of the connection; None if there is none."""
        self._descriptor = descriptor
        self.was_late = False

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Shut the connection down after so long; `was_late` then says so."""
        self.was_late = False
        timer = threading.Timer(seconds, self._cut_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def cut(self) -> None:
        """Shut the connection down now."""
        descriptor = self._descriptor()
        if descriptor is None or descriptor < 0:
            return
        # A duplicate, so that closing it leaves the connection's own descriptor alone.
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

    def _cut_late(self) -> None:
        self.was_late = True
        self.cut()

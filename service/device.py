"""The one thread of a worker that computes, and what its process holds."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_STATM = Path("/proc/self/statm")


class DeviceThread:
    """The thread that made this object; others hand it their calls, and it takes them in order."""

    def __init__(self) -> None:
        self._owner = threading.get_ident()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def run(self) -> None:
        """Make calls until the end; the owner's loop. Raises what a posted call raises."""
        while (call := self._calls.get()) is not None:
            call()

    def post(self, call: Callable[[], None]) -> None:
        """Have a call made, and do not wait for it."""
        self._calls.put(call)

    def call(self, work: Callable[[], T]) -> T:
        """Have a call made and return what it returns, or raise what it raises."""
        if threading.get_ident() == self._owner:
            return work()
        future: Future[T] = Future()

        def fulfil() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(fulfil)
        return future.result()

    def end(self) -> None:
        """Let `run` return once what was handed over before is done."""
        self._calls.put(None)


def process_bytes() -> int:
    """Return what this process holds of the machine's memory."""
    if _STATM.is_file():
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # noqa: PLC0415 - only where there is no /proc

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

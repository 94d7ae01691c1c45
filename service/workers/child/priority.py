"""A low priority for a spare's work, without the privilege to raise it again.

On Linux, priority belongs to a thread, and threads inherit it from the thread that starts them. An
unprivileged process may lower a thread's priority, but not raise it. So a spare works in short
threads of low priority. When it takes over, its main thread, whose priority never changed, does all
work. Elsewhere than on Linux, the spare works at normal priority.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_NICE = 10
"""A tenth of a core that a worker keeps busy. With the lowest priority (19, or SCHED_IDLE), a spare
would get 1.4 % or less, and would not be ready within minutes on a busy machine."""

_OOM = Path("/proc/self/oom_score_adj")
_FIRST_TO_END = 500
"""Half of all memory in the kernel's measure: it ends the spare before any worker."""


def at_low_priority(work: Callable[[], T]) -> T:
    """Run `work` in a new thread of low priority; return its result or raise its error."""
    future: Future[T] = Future()

    def run() -> None:
        lower_priority()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name="spare")
    thread.start()
    thread.join()
    return future.result()


def lower_priority() -> None:
    """Give the calling thread, and those that it will start, a low priority for good."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox forbids it, or it is lower already
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class FirstToEnd:
    """Makes this process the first that the kernel ends when memory runs out, until `withdraw`."""

    def __init__(self) -> None:
        self._before: str | None = None
        with contextlib.suppress(OSError, ValueError):  # not Linux, or read-only
            before = _OOM.read_text("ascii").strip()
            _OOM.write_text(str(max(int(before), _FIRST_TO_END)), "ascii")
            self._before = before

    def withdraw(self) -> None:
        """Be as important as before."""
        if self._before is not None:
            with contextlib.suppress(OSError):
                _OOM.write_text(self._before, "ascii")

"""The threads of a worker that compute, and what its process holds."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property, lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_STATM = Path("/proc/self/statm")


class DeviceThread:
    """The thread that made this object; others hand it their calls, and it takes them in order.

    A call that is not `alone` goes to one of so many `lanes`, threads that compute beside each
    other; one that is waits until all of them are free.
    """

    def __init__(self, lanes: int = 1) -> None:
        self._owner = threading.get_ident()
        self._lanes = lanes
        self._running: set[Future[None]] = set()
        self._calls: SimpleQueue[tuple[Callable[[], None], bool] | None] = SimpleQueue()

    def run(self) -> None:
        """Make calls until the end; the owner's loop. Raises what a posted call raises."""
        while (asked := self._calls.get()) is not None:
            call, alone = asked
            if alone or self._lanes == 1:
                self._end_lanes()
                call()
            else:
                self._running = {one for one in self._running if not one.done()}
                self._running.add(self._lane_threads.submit(call))
        self._end_lanes()

    def post(self, call: Callable[[], None], *, alone: bool = True) -> None:
        """Have a call made, and do not wait for it; in a lane, it must not raise."""
        self._calls.put((call, alone))

    def call(self, work: Callable[[], T], *, alone: bool = True) -> T:
        """Have a call made and return what it returns, or raise what it raises."""
        if threading.get_ident() == self._owner:
            return work()
        future: Future[T] = Future()

        def fulfil() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put((fulfil, alone))
        return future.result()

    def end(self) -> None:
        """Let `run` return once what was handed over before is done."""
        self._calls.put(None)

    @cached_property
    def _lane_threads(self) -> ThreadPoolExecutor:
        from model.engines.torch.lanes import lane_threads  # noqa: PLC0415 - torch, which not every worker has

        threads = lane_threads(self._lanes)
        _keep_apart(threads, self._lanes)
        return threads

    def _end_lanes(self) -> None:
        wait(self._running)
        self._running = set()


def _keep_apart(threads: ThreadPoolExecutor, count: int) -> None:
    """Give each of so many threads a processor of its own, where this process has just as many.

    Left alone, Linux lets two of them share one for 5 to 20 ms now and then, and another idle.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        return
    processors = os.sched_getaffinity(0)
    if len(processors) != count:
        return
    all_here = threading.Barrier(count)

    def stay(processor: int) -> None:
        all_here.wait()  # so that no thread takes two of these calls
        with contextlib.suppress(OSError):  # the processor has been taken away
            os.sched_setaffinity(0, {processor})

    wait([threads.submit(stay, processor) for processor in processors])


def process_bytes() -> int:
    """Return what this process holds of the machine's memory."""
    if _STATM.is_file():
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # noqa: PLC0415 - only where there is no /proc

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def return_free_memory() -> None:
    """Give what was freed back to the machine, where the C library can be told to (glibc).

    It keeps a heap for every few threads, and each is as large as the largest load it has seen. A
    batch that comes next takes its pages anew: too dear for after every one.
    """
    if trim := _heap_trimmer():
        trim(0)


@lru_cache
def _heap_trimmer() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return found

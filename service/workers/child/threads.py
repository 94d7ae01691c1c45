"""A worker's computing threads, and the memory of its process."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property, lru_cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from service.workers.child.priority import at_low_priority

T = TypeVar("T")

_STATM = Path("/proc/self/statm")


class DeviceThread:
    """Runs calls from other threads, in order, in the thread that created this object.

    A call that is not `alone` runs in one of the `lanes`, which are parallel threads. A call that
    is `alone` waits until all lanes are free. `in_background`, each call runs at low priority
    in a thread of its own, one after the other, until `come_forward`.

        device = DeviceThread()
        threading.Thread(target=lambda: device.call(warm_up)).start()
        device.run()
    """

    def __init__(self, lanes: int = 1, *, in_background: bool = False) -> None:
        self._in_background = in_background
        self._owner = threading.get_ident()
        self._lanes = lanes
        self._running: set[Future[object]] = set()
        self._calls: SimpleQueue[tuple[Callable[[], object], bool] | None] = SimpleQueue()

    def run(self) -> None:
        """Run calls until `end`; only in the owner's thread. Raises the errors of posted calls."""
        while (posted := self._calls.get()) is not None:
            call, alone = posted
            if self._in_background:
                at_low_priority(partial(self._run_behind, call, alone=alone))
            elif alone or self._lanes == 1:
                self._end_lanes()
                call()
            else:
                self._running = {future for future in self._running if not future.done()}
                self._running.add(self._lane_threads.submit(call))
        self._end_lanes()

    def post(self, call: Callable[[], object], *, alone: bool = True) -> None:
        """Queue a call without waiting for it; in a lane, it must not raise."""
        self._calls.put((call, alone))

    def call(self, work: Callable[[], T], *, alone: bool = True) -> T:
        """Queue a call, and return its result or raise its error."""
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

    def come_forward(self) -> None:
        """Run the next calls at normal priority, in the owner's thread and in new lanes."""
        self._in_background = False
        self.post(lambda: vars(self).pop("_lane_threads", None))

    def end(self) -> None:
        """Let `run` return after all calls queued before."""
        self._calls.put(None)

    def _run_behind(self, call: Callable[[], object], *, alone: bool) -> None:
        if alone or self._lanes == 1:
            call()
        else:
            self._lane_threads.submit(call).result()

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
    """Pin each thread to one processor, if the process has exactly as many processors.

    Otherwise Linux sometimes runs two lanes on one processor for 5 to 20 ms while another idles.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        return
    processors = os.sched_getaffinity(0)
    if len(processors) != count:
        return
    barrier = threading.Barrier(count)

    def pin(processor: int) -> None:
        barrier.wait()  # so that no thread runs two of these calls
        with contextlib.suppress(OSError):  # the processor is no longer available
            os.sched_setaffinity(0, {processor})

    wait([threads.submit(pin, processor) for processor in processors])


def process_bytes() -> int:
    """Return this process's resident memory (its peak, on systems without /proc)."""
    if _STATM.is_file():
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # noqa: PLC0415 - only where there is no /proc

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def return_free_memory() -> None:
    """Return freed memory to the system, with glibc; does nothing elsewhere.

    glibc keeps several heaps, each as large as the largest load it has had. Too slow after every
    batch: the next one would have to get its pages again.
    """
    if trim := _heap_trimmer():
        trim(0)


@lru_cache
def _heap_trimmer() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return trim

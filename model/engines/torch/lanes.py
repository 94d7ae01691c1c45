"""Computes parts of a batch side by side on a CPU, one thread each.

torch splits every operator among its threads and waits for the slowest, so any other work on the
processor, such as decoding the next images, delays all of them. Independent parts wait only once,
at the end. For very small batches, splitting operators is faster.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

T = TypeVar("T")

MOST = 4
"""Most images in a part. The arrays of larger parts exceed 32 MiB: glibc then maps new memory for
each, which the kernel has to clear."""


def divide(count: int) -> list[slice]:
    """Cut a batch of `count` images into equal parts of at most `MOST` that keep all threads busy.

    With fewer images than half of the threads, splitting operators is faster: one part.
    """
    threads = torch.get_num_threads()
    if count < 2 or 2 * count < threads:
        return [slice(0, count)]
    lanes = min(threads, count)
    parts = min(count, lanes * -(-count // (lanes * MOST)))
    ends = [count * (i + 1) // parts for i in range(parts)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def side_by_side(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run the calls on as many threads as torch uses, and return their results in order.

    All have ended when this returns or raises. Raises the exception of the first failed call.
    """
    threads = torch.get_num_threads()
    if len(calls) == 1 or threads == 1:
        return [call() for call in calls]
    pool = lane_threads(threads)
    returned: dict[int, T] = {}
    raised: dict[int, BaseException] = {}

    def make(number: int) -> None:
        try:
            returned[number] = calls[number]()
        except BaseException as error:
            raised[number] = error

    wait([pool.submit(make, number) for number in range(len(calls))])
    if raised:
        first = raised[min(raised)]
        raised.clear()  # a reachable error keeps its frames' tensors alive
        try:
            raise first
        finally:
            del first
    return [returned[number] for number in range(len(calls))]


@lru_cache
def lane_threads(lanes: int) -> ThreadPoolExecutor:
    """Return a pool of `lanes` threads, started once, in which torch uses a single thread."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(lanes, "lane", _compute_alone)
    all_started = Barrier(lanes + 1)
    for _ in range(lanes):
        pool.submit(all_started.wait)
    all_started.wait()
    torch.set_num_threads(threads)  # new threads take the value that was set last
    return pool


def _compute_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # the first call takes over the last value of any thread

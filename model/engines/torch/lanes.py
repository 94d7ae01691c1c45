"""Parts of a batch computed side by side on a CPU, by one thread each; by a single one in turn.

torch shares every single operator among its threads, and waits for the slowest of them: whatever
else the processor does, such as decoding the next images, holds all of them up. Parts that need
nothing of each other wait once, at the end. Only a batch of one image is better shared.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

T = TypeVar("T")

MOST = 4
"""Images in a part. The arrays of larger ones are past 32 MiB, where glibc maps memory anew for
each, and the kernel clears it."""


def divide(count: int) -> list[slice]:
    """Cut a batch of `count` images into equal parts, none too large, that keep all threads busy.

    Fewer images than half of the threads are better shared, operator by operator.
    """
    threads = torch.get_num_threads()
    if count < 2 or 2 * count < threads:
        return [slice(0, count)]
    lanes = min(threads, count)
    parts = min(count, lanes * -(-count // (lanes * MOST)))
    ends = [count * (i + 1) // parts for i in range(parts)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def side_by_side(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make the calls, more than one on torch's number of threads, and return what they return.

    None is running any more when this returns or raises; what the first failed call raised.
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
        raised.clear()  # an error that is still reachable keeps what was allocated before it
        try:
            raise first
        finally:
            del first
    return [returned[number] for number in range(len(calls))]


@lru_cache
def lane_threads(lanes: int) -> ThreadPoolExecutor:
    """Return so many threads, started once, each of which computes with torch all by itself."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(lanes, "lane", _compute_alone)
    all_here = Barrier(lanes + 1)
    for _ in range(lanes):
        pool.submit(all_here.wait)
    all_here.wait()
    torch.set_num_threads(threads)  # threads that are new to torch go by what was set last
    return pool


def _compute_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # the first look takes over what was set last, by whatever thread

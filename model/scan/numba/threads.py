"""Shares a kernel's units among threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="hybrid-scan")


def end_threads() -> None:
    """Let the next scan start new threads."""
    _pool.cache_clear()


def share(units: int, threads: int, work: Callable[[int, int, int], None]) -> None:
    """Call work(thread, start, stop) over `units` split evenly, the first part in this thread."""
    threads = min(units, threads)
    bounds = [units * i // threads for i in range(threads + 1)]
    others = [_pool(threads).submit(work, i, bounds[i], bounds[i + 1]) for i in range(1, threads)]
    work(0, bounds[0], bounds[1])
    wait(others)
    for other in others:
        other.result()

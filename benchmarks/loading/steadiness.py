"""Measures the machine's speed during a run, by constant work.

On a shared processor, other tenants can halve the speed for seconds: 70 % of a service's capacity
becomes nearly 100 %, and latencies rise for reasons outside the service. To detect that, each core
computes a small matrix product ten times a second. It fits the core's cache, and only its processor
time counts, so the service's own load does not change it.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

SLOWED = 1.1
"""A second counts as slowed if the work takes this many times as long as usual."""

_EVERY_S = 0.1
_SIDE = 48
_PRODUCTS = 40
_PATIENCE_S = 30.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Steadiness:
    """The duration of constant work in each second of a run, relative to the usual one.

    `slowest` is the ratio of the slowest second, `slowed` the fraction of seconds above `SLOWED`.
    """

    slowest: float
    slowed: float

    def text(self) -> str:
        """Return readable text."""
        return (
            f"the machine was up to {self.slowest:.2f} times as slow as usual, and more than "
            f"{SLOWED} times in {self.slowed:.0%} of the seconds"
        )


class MachineSpeed:
    """The durations of constant work on each core over time."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self._pipes = pipes
        self._samples = np.empty((0, 2))

    def collect(self) -> None:
        """Collect the samples so far, without those of cores that do not answer."""
        for pipe in self._pipes:
            pipe.send(None)
        samples = [pipe.recv() for pipe in self._pipes if pipe.poll(_PATIENCE_S)]
        self._samples = np.concatenate([self._samples, *samples])

    def work_s(self, start: float, end: float) -> float:
        """Return the median processor time of the work between two times; NaN without samples."""
        at, took = self._samples.T
        within = took[(at >= start) & (at < end)]
        return float(np.median(within)) if len(within) else float("nan")

    def steadiness(self, start: float, end: float, usual_s: float) -> Steadiness | None:
        """Compare the seconds between two times with the usual time; None without samples."""
        seconds = [self.work_s(at, at + 1) / usual_s for at in np.arange(start, end - 0.5)]
        ratios = [ratio for ratio in seconds if ratio > 0]
        if not ratios:
            return None
        return Steadiness(max(ratios), sum(ratio > SLOWED for ratio in ratios) / len(ratios))


@contextmanager
def machine_speed() -> Iterator[MachineSpeed]:
    """Watch the machine's speed during the block; does nothing where it cannot pin to cores."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    ends = [_SPAWN.Pipe() for _ in cores]
    workers = [
        _SPAWN.Process(target=_watch, args=(child_end, core), daemon=True)
        for (_, child_end), core in zip(ends, cores, strict=True)
    ]
    for worker in workers:
        worker.start()
    for _, child_end in ends:
        child_end.close()
    try:
        yield MachineSpeed([parent_end for parent_end, _ in ends])
    finally:
        for parent_end, _ in ends:
            parent_end.close()
        for worker in workers:
            worker.join()


def _watch(pipe: Connection, core: int) -> None:
    os.sched_setaffinity(0, {core})
    matrix = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
    result = np.empty_like(matrix)
    samples: list[tuple[float, float]] = []
    while True:
        if pipe.poll(_EVERY_S):
            try:
                pipe.recv()
            except EOFError:
                return
            pipe.send(np.array(samples).reshape(-1, 2))
            samples.clear()
        started = time.thread_time()
        for _ in range(_PRODUCTS):
            np.dot(matrix, matrix, out=result)
        samples.append((time.monotonic(), time.thread_time() - started))

"""How fast the machine itself is while a run goes on, told by work that is always the same.

Whoever shares a processor with others is slowed by them at times, by half for seconds on end. What
asks 70 % of a service's capacity then asks nearly all of it, and its latencies tell of the
neighbours. A small product of matrices on each core, ten times a second, tells that apart from
whatever the service does: it stays in the core's own cache, and counts processor time alone.
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
"""So much longer than usual the work takes in a second that counts as slowed."""

_EVERY_S = 0.1
_SIDE = 48
_PRODUCTS = 40
_PATIENCE_S = 30.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Steadiness:
    """How much longer the same work took during a run than usual, second by second.

    `slowest` is of the slowest second, and `slowed` the share of those above `SLOWED`.
    """

    slowest: float
    slowed: float

    def text(self) -> str:
        """Return it for people."""
        return (
            f"the machine up to {self.slowest:.2f} times as slow as usual, and over "
            f"{SLOWED} times in {self.slowed:.0%} of the seconds"
        )


class MachineSpeed:
    """What the same work took, core by core, as time went on."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self._pipes = pipes
        self._samples = np.empty((0, 2))

    def collect(self) -> None:
        """Take over what was found until now; of a core that does not answer, nothing."""
        for pipe in self._pipes:
            pipe.send(None)
        found = [pipe.recv() for pipe in self._pipes if pipe.poll(_PATIENCE_S)]
        self._samples = np.concatenate([self._samples, *found])

    def work_s(self, start: float, end: float) -> float:
        """Return the processor time of the work between two times; NaN where nothing was found."""
        at, took = self._samples.T
        within = took[(at >= start) & (at < end)]
        return float(np.median(within)) if len(within) else float("nan")

    def steadiness(self, start: float, end: float, usual_s: float) -> Steadiness | None:
        """Compare the seconds between two times with what is usual; None where nothing is known."""
        seconds = [self.work_s(at, at + 1) / usual_s for at in np.arange(start, end - 0.5)]
        known = [slower for slower in seconds if slower > 0]
        if not known:
            return None
        return Steadiness(max(known), sum(slower > SLOWED for slower in known) / len(known))


@contextmanager
def machine_speed() -> Iterator[MachineSpeed]:
    """Watch the machine's speed while the block runs; not where cores cannot be named."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    ends = [_SPAWN.Pipe() for _ in cores]
    workers = [
        _SPAWN.Process(target=_watch, args=(theirs, core), daemon=True)
        for (_, theirs), core in zip(ends, cores, strict=True)
    ]
    for worker in workers:
        worker.start()
    for _, theirs in ends:
        theirs.close()
    try:
        yield MachineSpeed([ours for ours, _ in ends])
    finally:
        for ours, _ in ends:
            ours.close()
        for worker in workers:
            worker.join()


def _watch(pipe: Connection, core: int) -> None:
    os.sched_setaffinity(0, {core})
    matrix = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
    result = np.empty_like(matrix)
    found: list[tuple[float, float]] = []
    while True:
        if pipe.poll(_EVERY_S):
            try:
                pipe.recv()
            except EOFError:
                return
            pipe.send(np.array(found).reshape(-1, 2))
            found.clear()
        started = time.thread_time()
        for _ in range(_PRODUCTS):
            np.dot(matrix, matrix, out=result)
        found.append((time.monotonic(), time.thread_time() - started))

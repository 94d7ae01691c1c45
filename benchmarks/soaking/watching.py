"""Checks that a service's memory, files and threads do not grow."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from statistics import median
from types import MappingProxyType
from typing import Any

import psutil

from benchmarks.loading import CannotMeasure

SAMPLE_S = 1.0
KILL_AT, WARM_AT = 0.15, 0.4
"""Fractions of the time: when a worker is killed, and from when on everything must be flat."""

WINDOW = 0.2
"""Fraction of the samples after the warm-up: the first ones are compared with the last ones."""

TOLERANCES = {
    "front_mb": (0.05, 16.0),
    "worker_mb": (0.1, 48.0),
    "front_files": (0.0, 12.0),
    "worker_files": (0.0, 4.0),
    "front_threads": (0.0, 4.0),
    "worker_threads": (0.0, 2.0),
}
"""Allowed growth of the median: a fraction of it, or a number, whichever is larger.

A worker's memory swings more during a load, when it holds the version's weights twice.
"""


def workers_of(front: psutil.Process) -> list[psutil.Process]:
    """Return the workers' processes."""
    workers = []
    for child in front.children():
        with suppress(psutil.Error):
            if any("spawn_main" in word for word in child.cmdline()):
                workers.append(child)
    return workers


def sample(front: psutil.Process) -> dict[str, float] | None:
    """Measure the service; return None while a worker starts or ends."""
    try:
        workers = workers_of(front)
        if not workers:
            return None
        return {
            "front_mb": front.memory_info().rss / 2**20,
            "worker_mb": sum(worker.memory_info().rss for worker in workers) / 2**20,
            "front_files": float(front.num_fds()),
            "worker_files": float(sum(worker.num_fds() for worker in workers)),
            "front_threads": float(front.num_threads()),
            "worker_threads": float(sum(worker.num_threads() for worker in workers)),
        }
    except psutil.Error:
        return None


def watch(
    front: psutil.Process, seconds: float, kill: Callable[[], None]
) -> list[dict[str, float]]:
    """Take samples for a time, and kill a worker meanwhile."""
    samples, started, killed = [], time.monotonic(), False
    while (elapsed := time.monotonic() - started) < seconds:
        if not killed and elapsed >= KILL_AT * seconds:
            kill()
            killed = True
        measured = sample(front)
        if measured and elapsed >= WARM_AT * seconds:
            samples.append({"second": round(elapsed, 1), **measured})
        time.sleep(SAMPLE_S)
    return samples


def flatness(
    samples: Sequence[Mapping[str, float]],
    tolerances: Mapping[str, tuple[float, float]] = MappingProxyType(TOLERANCES),
) -> list[dict[str, Any]]:
    """Compare the last samples with the first ones, for each quantity of `tolerances`."""
    count = max(3, round(WINDOW * len(samples)))
    if len(samples) < 2 * count:
        raise CannotMeasure(f"too short a time: {len(samples)} samples after the warm-up")
    rows = []
    for name, (share, number) in tolerances.items():
        before = median(measured[name] for measured in samples[:count])
        after = median(measured[name] for measured in samples[-count:])
        allowed = max(share * before, number)
        rows.append(
            {
                "what": name,
                "before": before,
                "after": after,
                "highest": max(measured[name] for measured in samples),
                "allowed_growth": allowed,
                "flat": after - before <= allowed,
            }
        )
    return rows

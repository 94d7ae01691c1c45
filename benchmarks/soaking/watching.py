"""Whether memory, files and threads of a service stay as they are."""

import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import Any

import psutil

from benchmarks.loading import CannotMeasure

SAMPLE_S = 1.0
KILL_AT, WARM_AT = 0.15, 0.4
"""Shares of the time after which a worker is killed, and from which on all has to be flat."""

WINDOW = 0.2
"""Share of the samples after the warm-up that are compared: the first ones with the last ones."""

TOLERANCES = {
    "front_mb": (0.05, 16.0),
    "worker_mb": (0.1, 48.0),
    "front_files": (0.0, 12.0),
    "worker_files": (0.0, 4.0),
    "front_threads": (0.0, 4.0),
    "worker_threads": (0.0, 2.0),
}
"""By how much the median may grow: a share of it, or a number, whichever is more.

A worker's memory swings by more while it loads, with the version's weights twice in it.
"""


def workers_of(front: psutil.Process) -> list[psutil.Process]:
    """Return the workers' processes."""
    found = []
    for child in front.children():
        with suppress(psutil.Error):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def sample(front: psutil.Process) -> dict[str, float] | None:
    """Measure the service, unless a worker is only just coming or going."""
    try:
        workers = workers_of(front)
        if not workers:
            return None
        return {
            "front_mb": front.memory_info().rss / 2**20,
            "worker_mb": sum(one.memory_info().rss for one in workers) / 2**20,
            "front_files": float(front.num_fds()),
            "worker_files": float(sum(one.num_fds() for one in workers)),
            "front_threads": float(front.num_threads()),
            "worker_threads": float(sum(one.num_threads() for one in workers)),
        }
    except psutil.Error:
        return None


def watch(
    front: psutil.Process, seconds: float, kill: Callable[[], None]
) -> list[dict[str, float]]:
    """Take samples for so long, and have a worker killed on the way."""
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


def flatness(samples: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Compare the last samples with the first ones, by what is measured."""
    count = max(3, round(WINDOW * len(samples)))
    if len(samples) < 2 * count:
        raise CannotMeasure(f"too short a time: {len(samples)} samples after the warm-up")
    rows = []
    for name, (share, number) in TOLERANCES.items():
        before = median(one[name] for one in samples[:count])
        after = median(one[name] for one in samples[-count:])
        allowed = max(share * before, number)
        rows.append(
            {
                "what": name,
                "before": before,
                "after": after,
                "highest": max(one[name] for one in samples),
                "allowed_growth": allowed,
                "flat": after - before <= allowed,
            }
        )
    return rows

"""Two stations of one service at full speed, watched from outside: does anything grow."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.loading import CannotMeasure
from benchmarks.soaking.watching import SAMPLE_S, WARM_AT, flatness, workers_of
from benchmarks.stationing.counting import Count
from benchmarks.stationing.site import Process, Service, ended
from benchmarks.stationing.store import write_store
from benchmarks.stationing.triggering import Line, calm, count_lines, drain, line_of

_OF_A_STATION = {"mb": (0.05, 8.0), "pss_mb": (0.05, 8.0), "files": (0.0, 6.0), "threads": (0, 4)}
_OF_THE_SERVICE = {
    "front_mb": (0.05, 16.0), "front_pss_mb": (0.05, 16.0), "front_files": (0.0, 12.0),
    "front_threads": (0.0, 4.0), "worker_mb": (0.1, 48.0), "worker_files": (0.0, 4.0),
    "worker_threads": (0.0, 2.0),
}  # fmt: skip
"""Allowed growth of a median, as in `benchmarks.soaking`: a fraction of it, or a number."""

_PARTS = 10**6
_STUCK_S = 60.0


async def run_soak(
    folder: Path, seconds: float
) -> tuple[list[dict[str, Any]], Count, list[dict[str, float]]]:
    """Run two PLCs without faults; return the comparison, the count, and all samples."""
    write_store(folder)
    service = Service(folder, folder / "weights", {"archive__keep_images": "OK=0.01,NG=0.01"})
    async with AsyncExitStack() as stack:
        lines = [
            await stack.enter_async_context(line_of(folder, service, number, _PARTS, calm()))
            for number in range(2)
        ]
        stations = [line.station for line in lines]
        stack.enter_context(ended([service, *stations]))
        await asyncio.to_thread(service.start)
        await asyncio.gather(*(asyncio.to_thread(station.start) for station in stations))
        samples = await _watch(lines, service, seconds)
        await drain(lines, service)
        count = await count_lines(lines, service)
    names = [f"{station.name}_{name}" for station in stations for name in _OF_A_STATION]
    limits = [*_OF_A_STATION.values()] * len(stations)
    tolerances = dict(zip(names, limits, strict=True)) | _OF_THE_SERVICE
    return flatness(samples, tolerances), count, samples


async def _watch(lines: Sequence[Line], service: Process, seconds: float) -> list[dict[str, float]]:
    """Take samples after the warm-up while the PLCs run. Raises `CannotMeasure`."""
    running = [asyncio.create_task(line.plc.run()) for line in lines]
    samples: list[dict[str, float]] = []
    began = changed = time.monotonic()
    results = 0
    try:
        while (elapsed := time.monotonic() - began) < seconds:
            for task in running:
                if task.done():
                    task.result()
            if elapsed >= WARM_AT * seconds:
                measured = await asyncio.to_thread(sample, lines, service)
                samples.append({"second": round(elapsed, 1), **measured})
            before, results = results, sum(len(line.plc.report.verdicts) for line in lines)
            changed = time.monotonic() if results != before else changed
            if time.monotonic() - changed > _STUCK_S:
                raise CannotMeasure(f"no result for {_STUCK_S:g} s; {results} before")
            await asyncio.sleep(SAMPLE_S)
        for line in lines:
            line.plc.finish()
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
    return samples


def sample(lines: Sequence[Line], service: Process) -> dict[str, float]:
    """Measure all processes."""
    measured: dict[str, float] = {}
    for line in lines:
        of_station = _of(psutil.Process(line.station.pid))
        measured |= {f"{line.station.name}_{name}": value for name, value in of_station.items()}
    front = psutil.Process(service.pid)
    measured |= {f"front_{name}": value for name, value in _of(front).items()}
    for worker in workers_of(front):
        for name, value in _of(worker).items():
            measured[f"worker_{name}"] = measured.get(f"worker_{name}", 0.0) + value
    return measured


def _of(process: psutil.Process) -> Mapping[str, float]:
    memory = process.memory_full_info()
    return {
        "mb": memory.rss / 2**20,
        "pss_mb": memory.pss / 2**20,
        "files": float(process.num_fds()),
        "threads": float(process.num_threads()),
    }


def report_flatness(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Print the comparison; return whether everything is flat."""
    print(f"{'':18}{'after warm-up':>14}{'at the end':>12}{'highest':>10}{'may grow':>10}")
    for row in rows:
        print(
            f"{row['what']:18}{row['before']:14.1f}{row['after']:12.1f}{row['highest']:10.1f}"
            f"{row['allowed_growth']:10.1f}  {'flat' if row['flat'] else 'GROWS'}"
        )
    return all(row["flat"] for row in rows)

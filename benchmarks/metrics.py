"""Times the pixel metrics of many maps, and measures their memory.

    python benchmarks/metrics.py --json benchmarks/results/metrics-cpu.json

The maps are smoothed noise, a little higher in the drawn defects of every other map. "taking" sorts
and writes each map, "measuring" computes all pixel metrics, "intervals" their bootstrap; "cpu" is
processor time. Peak memory is that of the process.
"""

import json
import resource  # only on Unix
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.ndimage
import typer

from model.benchmark import device_name, versions
from model.metrics import MapSpill, measure
from model.metrics.resampling import pixel_replicates

DIFFERENT = 64
"""Generated maps; each is used many times, shifted and scaled."""


def main(
    maps: Annotated[int, typer.Option(min=2)] = 10_000,
    side: Annotated[int, typer.Option(help="Side of a map in pixels.")] = 256,
    resamplings: Annotated[int, typer.Option(min=1)] = 500,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print seconds and peak memory, and write them as JSON."""
    before = peak_memory_mb()
    started = time.perf_counter()
    with MapSpill() as spill:
        making = fill(spill, maps, side)
        taking = time.perf_counter() - started - making
        started, worked = time.perf_counter(), time.process_time()
        metrics = measure(spill)
        measuring, measuring_cpu = time.perf_counter() - started, time.process_time() - worked
        started = time.perf_counter()
        if metrics is not None:
            pixel_replicates(spill, metrics, resamplings, seed=0)
        intervals = time.perf_counter() - started
    assert metrics is not None
    result = {
        "device_name": device_name("cpu"),
        "versions": versions(),
        "maps": maps,
        "side": side,
        "resamplings": resamplings,
        "taking_s": round(taking, 2),
        "measuring_s": round(measuring, 2),
        "measuring_cpu_s": round(measuring_cpu, 2),
        "intervals_s": round(intervals, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        "memory_before_mb": round(before),
        "aupro": metrics.aupro,
        "pixel_auroc": metrics.auroc,
    }
    print(json.dumps(result, indent=2))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def fill(spill: MapSpill, maps: int, side: int) -> float:
    """Add generated maps, and return the seconds for generating them."""
    rng = np.random.default_rng(0)
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(DIFFERENT, side, side)), (0, 2, 2))
    blobs = scipy.ndimage.gaussian_filter(rng.normal(size=(DIFFERENT, side, side)), (0, 8, 8))
    marked = blobs > np.quantile(blobs, 0.95)
    making = 0.0
    for number in range(maps):
        started = time.perf_counter()
        turn = number % DIFFERENT
        mask = marked[turn] if number % 2 else np.zeros((side, side), dtype=bool)
        moved = np.roll(noise[turn], number % side, axis=1) * (1 + number / maps)
        values = np.exp(moved + mask * 0.2).astype(np.float32)
        making += time.perf_counter() - started
        spill.add(values, mask)
    return making


def peak_memory_mb() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    typer.run(main)

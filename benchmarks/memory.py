"""Measures how much longer an image takes with a memory of good parts, on a CPU.

    python -m benchmarks.memory --json benchmarks/results/memory-cpu.json

Inspects one image of the shipped checkpoint's size, without a memory and with memories of several
sizes, in rotating order, so that a drifting machine affects all of them. Patches are random: the
time does not depend on their values. Reports medians: of the time that passed and, because a shared
machine prolongs that, of the processor time. Set OPENBLAS_NUM_THREADS=1, as in the service.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.cpu import commit
from model.benchmark import device_name, versions
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.inference.detector import Detector
from model.inspection import ImageSize
from model.runtimes.torch import open_checkpoint, torch_detector
from model.scoring.baselines import PATCH_STRIDE
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.memory import Memory
from model.scoring.whitening import partial_whitening

SIZES = (0, 1000, 2000)
"""Remembered patches."""
_SCALE = np.array([[0, 1], [0, 1]], np.float32)


def detectors(weights: Path, name: str) -> dict[int, Detector]:
    """Return the prepared detector of each size of memory."""
    made = {}
    for patches in SIZES:
        checkpoint = CheckpointStore(weights).load(name)
        made[patches] = with_memory(checkpoint, patches) if patches else open_checkpoint(checkpoint)
    for detector in made.values():
        for step in detector.preparation(1):
            step()
    return made


def with_memory(checkpoint: Checkpoint, patches: int) -> Detector:
    """Return a detector that remembers random patches; takes over the checkpoint's network."""
    size, scoring = checkpoint.config.image_size, replace(checkpoint.scoring, memory=patches)
    channels = sum(checkpoint.network.encoder.channels[1:])
    random = np.random.default_rng(0).normal(size=(patches, channels)).astype(np.float32)
    grid = (size[0] // PATCH_STRIDE, size[1] // PATCH_STRIDE)
    memory = Memory(random, partial_whitening(random), grid, size, scoring.sigma)
    baselines = {}
    for category, baseline in checkpoint.baselines.items():  # a memory that it has is replaced
        decoder = baseline.decoder if isinstance(baseline, FusedBaseline) else baseline
        baselines[category] = FusedBaseline(decoder, memory, _SCALE, 1.0)
    return torch_detector(
        checkpoint.network, checkpoint.preprocessing, scoring, checkpoint.calibrations,
        baselines=baselines,
    )  # fmt: skip


def rounds(made: dict[int, Detector], count: int) -> Iterator[dict[int, tuple[float, float]]]:
    """Yield each detector's seconds, passed and of the processor, for an image."""
    size = made[0].preprocessing.image_size
    image = np.random.default_rng(1).integers(0, 256, (1, 3, *size), np.uint8)
    category = made[0].categories[0]
    for number in range(count):
        took = {}
        order = SIZES[number % len(SIZES) :] + SIZES[: number % len(SIZES)]
        for patches in order:
            passed, used = time.perf_counter(), time.process_time()
            made[patches].inspect(image, [category], [ImageSize(*size)])
            took[patches] = (time.perf_counter() - passed, time.process_time() - used)
        yield took


def measure(made: dict[int, Detector], count: int) -> dict[str, Any]:
    """Return medians in ms by the number of patches, and of the rounds' differences from none."""
    took = list(rounds(made, count + 3))[3:]  # the first ones warm up
    return {
        str(patches): {
            clock: {
                "ms": round(1e3 * median(one[patches][number] for one in took), 2),
                "more_ms": round(
                    1e3 * median(one[patches][number] - one[0][number] for one in took), 2
                ),
            }
            for number, clock in enumerate(("passed", "processor"))
        }
        for patches in SIZES
    }


def main(
    weights: Annotated[Path, typer.Option(help="The checkpoint store.")] = Path("weights"),
    name: Annotated[str, typer.Option(help="The checkpoint.")] = "solar",
    count: Annotated[int, typer.Option("--rounds", help="Images for each figure.")] = 30,
    all_threads: Annotated[
        list[int], typer.Option("--threads", help="torch's threads; repeatable.")
    ] = [1, 2],  # noqa: B006 - never changed
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print the time of an image with and without a memory."""
    results: dict[str, Any] = {}
    for threads in all_threads:
        torch.set_num_threads(threads)
        results[str(threads)] = measure(detectors(weights, name), count)
        print(f"{threads} threads: {json.dumps(results[str(threads)])}", flush=True)
    if json_file is not None:
        record = {"commit": commit(), "device": device_name("cpu"), "versions": versions()}
        text = json.dumps(record | {"rounds": count, "threads": results}, indent=2)
        json_file.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    typer.run(main)

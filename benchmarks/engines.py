"""Measures torch and OpenVINO on one CPU, in turns: A B B A, one image at a time.

    python -m benchmarks.engines --threads 2 --json engines-cpu.json

For the shipped checkpoint and the paper's configuration (random weights, which do not change the
speed): wall-clock and processor time of the network, from pixels to the scoring's input. bfloat16
is left out on a processor that does not compute in it.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from service.settings import tune_torch

ROOT = Path(__file__).parents[1]
WAYS = ("torch", "openvino float32", "openvino bfloat16")


def engines_of(subject: str, threads: int) -> dict[str, Any]:
    """Return the engines of a subject, "shipped" or "paper", by way."""
    from model.benchmark import of_paper  # noqa: PLC0415 - after `tune_torch`
    from model.checkpoints.checkpoint import CheckpointStore  # noqa: PLC0415
    from model.engines.openvino.engine import OpenvinoEngine  # noqa: PLC0415
    from model.engines.openvino.graphs import has_precision  # noqa: PLC0415
    from model.engines.torch.engine import TorchEngine  # noqa: PLC0415

    if subject == "shipped":
        checkpoint = CheckpointStore(ROOT / "weights").load("solar")
        parts = (checkpoint.network, checkpoint.preprocessing, checkpoint.scoring)
    else:
        engine = of_paper("cpu").detector.engine
        assert isinstance(engine, TorchEngine)
        parts = (engine.network, engine.preprocessing, engine.scoring)
    engines: dict[str, Any] = {"torch": TorchEngine(*parts)}
    for step in engines["torch"].preparation(1):
        step()
    for way in WAYS[1:]:
        if not has_precision(way.split()[1]):
            continue
        engines[way] = OpenvinoEngine(*parts, threads, way.split()[1])
    return engines


def measure(engines: dict[str, Any], rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians of wall-clock and processor time of each engine, in ms."""
    size = engines["torch"].preprocessing.image_size
    image = np.random.default_rng(0).integers(0, 256, (1, 3, *size), dtype=np.uint8)
    calls: dict[str, Callable[[], object]] = {
        way: lambda e=engine: e.compare(image, lambda _stage: None)  # type: ignore[misc]
        for way, engine in engines.items()
    }
    for call in [*calls.values()] * 3:
        call()
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in calls}
    for turn in range(rounds):
        for way in list(calls) if turn % 2 else list(calls)[::-1]:
            started = time.perf_counter(), time.process_time()
            calls[way]()
            ended = time.perf_counter(), time.process_time()
            times[way].append((ended[0] - started[0], ended[1] - started[1]))
    return {
        way: {
            "wall_ms": 1e3 * statistics.median(wall for wall, _ in of),
            "processor_ms": 1e3 * statistics.median(cpu for _, cpu in of),
        }
        for way, of in times.items()
    }


def main() -> None:
    """Measure, print, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--subject", choices=("shipped", "paper"), action="append")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tune_torch()  # like `mambaad serve`, before torch is imported
    import torch  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    from model.engines.openvino.graphs import processor  # noqa: PLC0415

    load = os.getloadavg()[0]
    results = {
        "processor": processor(),
        "versions": {name: version(name) for name in ("torch", "openvino", "numba")},
        "threads": arguments.threads,
        "load_before": load,
        "subjects": {
            subject: measure(engines_of(subject, arguments.threads), arguments.rounds)
            for subject in arguments.subject or ("shipped", "paper")
        },
    }
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()

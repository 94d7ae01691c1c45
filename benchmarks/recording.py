"""Measures the gain from recordings on a CPU: recorded, unrecorded, and in onnxruntime.

    python -m benchmarks.recording --json benchmarks/results/recording-cpu.json

Times the shipped checkpoint and the paper's configuration (random weights), from pixels to raw
maps. All ways use the same lanes (`model.engines.torch.lanes`): one image uses all threads, a batch
is split into parts of one thread each. Each round runs each way once, in rotating order, so that a
drifting machine affects all of them. Reports medians, also of the rounds' ratios.
"""

import copy
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer

from benchmarks.cpu import commit
from model.benchmark import device_name, versions
from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.engines.onnx.engine import OnnxEngine
from model.engines.torch import engine as torch_engine
from model.engines.torch import lanes
from model.engines.torch.engine import TorchEngine
from model.export.artefact import build
from model.images.preprocess import Preprocessing
from model.inference.engine import Engine, Lap
from model.network import MambaAD, NetworkConfig
from model.scoring.scores import Scoring
from service.settings import tune_torch

RECORDED, PLAIN, ONNX = "recorded", "unrecorded", "onnxruntime"
BATCH_SIZES = (1, 2, 8)
TOLERANCE = 1e-3
"""Largest relative norm of the difference between the raw maps of two ways."""


class LanedOnnx:
    """An ONNX file in torch's lanes: one session with all threads, one with a single thread."""

    def __init__(self, data: bytes, size: tuple[int, int], threads: int) -> None:
        self._shared = OnnxEngine(data, size, threads=threads)
        self._alone = OnnxEngine(data, size, threads=1)

    def compare(self, images: np.ndarray, lap: Lap) -> np.ndarray:
        """Return the raw maps."""
        parts = lanes.divide(len(images))
        if len(parts) == 1:
            return self._shared.compare(images, lap)
        calls = [partial(self._alone.compare, images[part], lap) for part in parts]
        return np.concatenate(lanes.side_by_side(calls))


@dataclass(frozen=True, slots=True)
class Ways:
    """One network in each way, and the seconds of preparing it."""

    engines: Mapping[str, Engine | LanedOnnx]
    seconds: Mapping[str, float]
    recorded_by_itself: bool
    size: tuple[int, int]


def shipped(weights: Path) -> Checkpoint:
    """Load the checkpoint in the repository."""
    return CheckpointStore(weights).load("solar")


def paper(folder: Path) -> Checkpoint:
    """Save the paper's configuration with random weights."""
    config = NetworkConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MambaAD(config).eval()
    encoder = network.encoder
    preprocessing = Preprocessing(image_size=config.image_size, mean=encoder.mean, std=encoder.std)
    calibrations = {"part": Calibration.fit([0.5, 0.9], [1.0, 2.0])}
    return CheckpointStore(folder).save(
        "paper", network, preprocessing, Scoring(), calibrations, training={}, metrics={}
    )


def ways_of(checkpoint: Checkpoint, threads: int) -> Ways:
    """Build the three engines; records the paper's network even if the engine would not."""
    parts = (checkpoint.preprocessing, checkpoint.scoring)
    size = checkpoint.preprocessing.image_size
    networks = [copy.deepcopy(checkpoint.network) for _ in range(3)]

    def record(engine: TorchEngine) -> TorchEngine:
        for step in engine.preparation(lanes.MOST):
            step()
        return engine

    by_itself = record(TorchEngine(networks[0], *parts))
    seconds: dict[str, float] = {}
    recorded, plain = TorchEngine(networks[1], *parts), TorchEngine(networks[2], *parts)
    with patch.object(torch_engine, "_SLOW_S", math.inf):
        seconds[RECORDED] = _seconds(lambda: record(recorded))
    data = build(checkpoint).SerializeToString()  # last, since it takes over the network
    onnx: list[LanedOnnx] = []
    seconds[ONNX] = _seconds(lambda: onnx.append(LanedOnnx(data, size, threads)))
    engines = {RECORDED: recorded, PLAIN: plain, ONNX: onnx[0]}
    return Ways(engines, seconds, bool(by_itself._recordings), size)


def timed(ways: Ways, batch_size: int, rounds: int) -> dict[str, Any]:
    """Time a batch in every way, in turns. Raises `AssertionError` if the maps differ."""
    shape = (batch_size, 3, *ways.size)
    images = np.random.default_rng(batch_size).integers(0, 256, shape, dtype=np.uint8)
    maps = {name: engine.compare(images, _no_lap) for name, engine in ways.engines.items()}
    differences = {name: _difference(values, maps[PLAIN]) for name, values in maps.items()}
    assert max(differences.values()) <= TOLERANCE, differences
    names = list(ways.engines)
    ms: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            taken = _seconds(partial(ways.engines[name].compare, images, _no_lap))
            ms[name].append(1000 * taken)
    return {
        "batch_size": batch_size,
        "parts": len(lanes.divide(batch_size)),
        "median_ms": {name: median(values) for name, values in ms.items()},
        "least_ms": {name: min(values) for name, values in ms.items()},
        "of_unrecorded": {name: _ratio(values, ms[PLAIN]) for name, values in ms.items()},
        "difference": differences,
        "ms": ms,
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _difference(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


def _ratio(values: Sequence[float], expected: Sequence[float]) -> float:
    """Return the median over the rounds of the ratio of two ways' times."""
    return median(a / b for a, b in zip(values, expected, strict=True))


def _no_lap(stage: str) -> None:
    """Ignore stages: only the total is timed."""


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds at each batch size.")] = 30,
    threads: Annotated[int | None, typer.Option(min=1, help="By default all cores.")] = None,
    weights: Annotated[Path, typer.Option(help="The checkpoint store.")] = Path("weights"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Measure in this process; internal.")
    ] = False,
) -> None:
    """Time every way at every batch size, print it, and write it as JSON."""
    if not here:
        tune_torch()  # like `mambaad`; torch reads it at import
        command = [sys.executable, "-m", "benchmarks.recording", "--here", *sys.argv[1:]]
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    threads = threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    subjects: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, checkpoint in {"shipped": shipped(weights), "paper": paper(Path(folder))}.items():
            ways = ways_of(checkpoint, threads)
            batches = [timed(ways, size, rounds) for size in BATCH_SIZES]
            subjects[name] = {
                "network": checkpoint.config.to_dict(),
                "recorded_by_itself": ways.recorded_by_itself,
                "preparing_s": dict(ways.seconds),
                "batches": batches,
            }
            report(name, subjects[name])
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.recording", *sys.argv[2:]]),
        "commit": commit(),
        "device_name": device_name("cpu"),
        "threads": threads,
        "load_average": os.getloadavg(),
        "versions": versions() | {"onnxruntime": version("onnxruntime")},
        "rounds": rounds,
        "subjects": subjects,
    }
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def report(name: str, subject: Mapping[str, Any]) -> None:
    """Print the medians of one network."""
    seconds = ", ".join(f"{way} {s:.1f} s" for way, s in subject["preparing_s"].items())
    state = "recorded" if subject["recorded_by_itself"] else "recorded only for this benchmark"
    print(f"{name} ({state}; preparing: {seconds})")
    for batch in subject["batches"]:
        ways = ", ".join(
            f"{way} {ms:.1f} ms ({batch['of_unrecorded'][way]:.2f})"
            for way, ms in batch["median_ms"].items()
        )
        print(f"  batch {batch['batch_size']}: {ways}", flush=True)


if __name__ == "__main__":
    typer.run(main)

"""Measures the cost of many checkpoints on one device, and the gain from a shared encoder pass.

    python benchmarks/sharing.py --json benchmarks/results/sharing-cpu.json

1. Through a worker, all images queued: images a second of one category, and of 16 categories
interleaved on 4 checkpoints that share an encoder. The first round does not count. 2. In one
process: a batch of mixed checkpoints, with an encoder pass per checkpoint and with one for all. On
a CPU, where an image costs the same in any batch, sharing gains nothing, so the service does not do
it.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from prometheus_client import CollectorRegistry

from model.benchmark import device_name, versions
from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.key import CheckpointKey
from model.checkpoints.shared_encoders import SharedEncoders
from model.engines.torch.folding import fold_batch_norms
from model.engines.torch.packing import prepare_for_cpu
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize
from model.network import MambaAD, NetworkConfig
from model.scoring.scores import Scoring
from service.inspection.readiness import ReadinessCheck
from service.settings import TelemetrySettings, WorkerSettings
from service.shutdown import Shutdown
from service.telemetry.metrics import Metrics
from service.versions.registry import Registry
from service.workers.jobs import Job
from service.workers.pipe.messages import Item
from service.workers.pool import WorkerPool

CHECKPOINTS = 4
CATEGORIES = 16
ANY = Calibration(
    image_threshold=1.0,
    pixel_threshold=1.0,
    image_scale=1.0,
    pixel_scale=1.0,
    alpha=0.01,
    good_images=150,
)
CONFIGS = {
    "paper": NetworkConfig(),
    "small": NetworkConfig(
        encoder="tf_efficientnet_lite0", depths=(2, 2, 2, 2), directions=4, state_size=4
    ),
}


@dataclass(frozen=True, slots=True)
class Throughput:
    """Images a second, the median of several rounds."""

    what: str
    images_per_second: float
    rounds: list[float]


def main(
    config: Annotated[str, typer.Option(help=f"One of {', '.join(CONFIGS)}.")] = "small",
    device: str = "cpu",
    images: Annotated[int, typer.Option(min=CATEGORIES, help="Images in a round.")] = 128,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    batch_size: Annotated[int, typer.Option(min=CHECKPOINTS)] = 16,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print both comparisons, and write them as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder))
        network = CONFIGS[config]
        save_checkpoints(store, network)
        served = asyncio.run(through_worker(store, device, images, rounds, batch_size))
        passes = encoder_passes(store, device, batch_size, rounds)
    result = {
        "config": network.to_dict(),
        "device": device,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "max_batch_size": batch_size,
        "through_a_worker": [asdict(row) for row in served],
        "interleaved_share": served[1].images_per_second / served[0].images_per_second,
        "mixed_batch": [asdict(row) for row in passes],
        "gain_of_sharing_the_pass": passes[1].images_per_second / passes[0].images_per_second,
    }
    report(result)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def report(result: dict[str, Any]) -> None:
    """Print the result."""
    print(f"{result['device']} ({result['device_name']}), {result['threads']} threads")
    for row in result["through_a_worker"] + result["mixed_batch"]:
        print(f"  {row['what']}: {row['images_per_second']:.2f} images/s")
    print(f"interleaved, of one category's throughput: {result['interleaved_share']:.1%}")
    print(f"sharing the encoder's pass: x {result['gain_of_sharing_the_pass']:.3f}")


def save_checkpoints(store: CheckpointStore, config: NetworkConfig) -> None:
    """Save random networks that share an encoder, each for its share of the categories."""
    torch.manual_seed(0)
    first = MambaAD(config)
    for number in range(CHECKPOINTS):
        network = MambaAD(config, first.encoder)
        encoder = network.encoder
        preprocessing = Preprocessing(
            image_size=config.image_size, mean=encoder.mean, std=encoder.std
        )
        categories = {f"c{c}": ANY for c in range(CATEGORIES) if c % CHECKPOINTS == number}
        name = f"m{number}"
        store.save(name, network, preprocessing, Scoring(), categories, training={}, metrics={})


async def through_worker(
    store: CheckpointStore, device: str, images: int, rounds: int, batch_size: int
) -> list[Throughput]:
    """Let a worker compute rounds of images of one category and of all, in turns."""
    settings = WorkerSettings(devices=(device,), max_batch_size=batch_size, max_queue_size=images)
    metrics = Metrics(CollectorRegistry())
    registry = Registry(store, metrics)
    alone: list[float] = []
    mixed: list[float] = []
    async with WorkerPool(
        settings,
        registry.checkpoints,
        metrics,
        registry.report,
        weights_dir=store.root,
        logs=TelemetrySettings(log_level="ERROR"),
    ) as pool:
        await ReadinessCheck(pool, registry, Shutdown()).wait()
        for _ in range(rounds + 1):
            alone.append(await one_round(pool, registry, [0] * images))
            mixed.append(await one_round(pool, registry, [i % CATEGORIES for i in range(images)]))
    what = (
        "one category",
        f"{CATEGORIES} categories interleaved on {CHECKPOINTS} checkpoints",
    )
    return [
        Throughput(name, median(rates[1:]), rates[1:])
        for name, rates in zip(what, (alone, mixed), strict=True)
    ]


async def one_round(pool: WorkerPool, registry: Registry, categories: list[int]) -> float:
    """Queue one image per category given, and return the images a second."""
    loop = asyncio.get_running_loop()
    size = registry.routes[0].image_size
    pixels = np.zeros((1, 3, size.height, size.width), np.uint8)
    jobs = []
    started = time.perf_counter()
    for number in categories:
        item = Item(f"c{number}", ImageSize(size.height, size.width), False, ANY)
        key = CheckpointKey(f"m{number % CHECKPOINTS}", "1")
        now = loop.time()
        jobs.append(Job(key, item, pixels, now + 3600, loop.create_future(), now))
        pool.submit(jobs[-1])
    await asyncio.gather(*(job.future for job in jobs))
    return len(jobs) / (time.perf_counter() - started)


def encoder_passes(
    store: CheckpointStore, device: str, batch_size: int, rounds: int
) -> list[Throughput]:
    """Compute a mixed batch with one encoder pass per checkpoint, and with one for all."""
    encoders = SharedEncoders()
    prepare = prepare_for_cpu if device == "cpu" else fold_batch_norms
    networks = [
        prepare(store.load(f"m{number}", encoders=encoders).network.to(device))
        for number in range(CHECKPOINTS)
    ]
    share = batch_size // CHECKPOINTS
    height, width = networks[0].config.image_size
    images = torch.rand(share * CHECKPOINTS, 3, height, width, device=device)

    def with_separate_passes() -> None:
        for network, part in zip(networks, images.split(share), strict=True):
            network.reconstruct(network.encoder(part))

    def with_one_pass() -> None:
        features = [feature.split(share) for feature in networks[0].encoder(images)]
        for network, part in zip(networks, zip(*features, strict=True), strict=True):
            network.reconstruct(list(part))

    ways = {"a pass each": with_separate_passes, "one pass for all": with_one_pass}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = timed(way, device)
            if number:
                rates[name].append(len(images) / seconds)
    return [
        Throughput(f"batch of {len(images)} of {CHECKPOINTS} checkpoints, {name}", median(f), f)
        for name, f in rates.items()
    ]


@torch.inference_mode()
def timed(way: Callable[[], None], device: str) -> float:
    """Return the seconds of a call, including its device's work."""
    started = time.perf_counter()
    way()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)

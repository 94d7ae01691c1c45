"""Measures the Detector alone, for comparison with the service."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.loading import CannotMeasure

_TRIAL = 3


def detector_rate(
    weights: Path, device: str, batch_size: int, seconds: float, threads: int | None = None
) -> float:
    """Return the images a second of the store's first checkpoint, measured in a new process.

    `threads` are those of torch and the scan.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawning) as process:
        rate = process.submit(_rate, weights, device, batch_size, seconds, threads)
        return rate.result()


def _rate(
    weights: Path, device: str, batch_size: int, seconds: float, threads: int | None
) -> float:
    import torch  # noqa: PLC0415 - needed only here

    from model.benchmark import measure, of_checkpoint  # noqa: PLC0415
    from model.checkpoints.checkpoint import CheckpointStore  # noqa: PLC0415

    if threads is not None:
        torch.set_num_threads(threads)
    store = CheckpointStore(weights)
    manifests = store.manifests()
    if not manifests:
        raise CannotMeasure(f"no checkpoint in {weights}")
    subject = of_checkpoint(store.load(manifests[0].name), device)
    trial = measure(subject, batch_size, _TRIAL)
    repeats = max(_TRIAL, round(seconds * trial.images_per_second / batch_size))
    return measure(subject, batch_size, repeats).images_per_second

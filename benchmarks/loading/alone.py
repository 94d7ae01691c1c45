"""The Detector by itself, as what a service around it is held against."""

from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.loading import CannotMeasure
from model.benchmark import measure, of_checkpoint
from model.checkpoint import CheckpointStore

_TRIAL = 3


def detector_rate(
    weights: Path, device: str, batch_size: int, seconds: float, threads: int | None = None
) -> Callable[[], float]:
    """Load the store's first checkpoint; return what measures its images a second when called.

    `threads` are torch's, and the scan's with them: of the whole process from now on.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    store = CheckpointStore(weights)
    manifests = store.manifests()
    if not manifests:
        raise CannotMeasure(f"no checkpoint in {weights}")
    subject = of_checkpoint(store.load(manifests[0].name), device)
    trial = measure(subject, batch_size, _TRIAL)
    repeats = max(_TRIAL, round(seconds * trial.images_per_second / batch_size))
    return lambda: measure(subject, batch_size, repeats).images_per_second

"""Batches of training images in an order that depends only on the seed and the epoch."""

from collections.abc import Sequence

import numpy as np
import torch

from model.dataset import ImageDataset, Loader

INITIAL_WEIGHTS, ORDER, STEP, AUGMENTATION = 1, 2, 3, 4


def seed_for(purpose: int, seed: int, epoch: int = 0, step: int = 0) -> int:
    """Return a seed for one purpose at one place of a run.

    No random state is carried from step to step, so a resumed run only needs its place.
    """
    sequence = np.random.SeedSequence((purpose, seed, epoch, step))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the indices of each batch of an epoch.

    Each image occurs at most once. A smaller last batch is dropped unless it is the only one; the
    dropped images differ in each epoch.
    """
    generator = torch.Generator().manual_seed(seed_for(ORDER, seed, epoch))
    order = torch.randperm(count, generator=generator).tolist()
    size = min(batch_size, count)
    return [order[i : i + size] for i in range(0, count - size + 1, size)]


def in_order(count: int, size: int) -> list[list[int]]:
    """Return the indices of all images in batches; the last one may be smaller."""
    return [list(range(i, min(i + size, count))) for i in range(0, count, size)]


def load_batches(images: ImageDataset, order: Sequence[Sequence[int]]) -> Loader:
    """Return the batches for one iteration; threads read ahead."""
    return Loader(images, order)

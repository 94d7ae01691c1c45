"""The training images, batch by batch, always in the order that the seed and the epoch fix."""

from collections.abc import Sequence

import numpy as np
import torch

from model.dataset import ImageDataset, Loader

INITIAL_WEIGHTS, ORDER, STEP, AUGMENTATION = 1, 2, 3, 4


def seed_for(purpose: int, seed: int, epoch: int = 0, step: int = 0) -> int:
    """Return a seed for one purpose at one place of a run.

    No random state is carried from step to step, so a run that stops anywhere goes on as it would
    have, with nothing but its place to remember.
    """
    sequence = np.random.SeedSequence((purpose, seed, epoch, step))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the indices of each batch of an epoch.

    Each image comes once at most: what would be a last, smaller batch is left out, another one
    each epoch, unless it is the only one.
    """
    generator = torch.Generator().manual_seed(seed_for(ORDER, seed, epoch))
    order = torch.randperm(count, generator=generator).tolist()
    size = min(batch_size, count)
    return [order[i : i + size] for i in range(0, count - size + 1, size)]


def load_batches(images: ImageDataset, order: Sequence[Sequence[int]]) -> Loader:
    """Return the batches, to be iterated over once, the next ones being read meanwhile.

    What is returned knows `wait_s` and `wait_share`: how long the caller waited for images.
    """
    return Loader(images, order)

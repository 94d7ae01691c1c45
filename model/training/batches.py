"""The training images, batch by batch, always in the order that the seed and the epoch fix."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from model.dataset import ImageDataset

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


def load_batches(
    images: ImageDataset, order: Sequence[Sequence[int]]
) -> Iterator[UInt8[Tensor, "B 3 H W"]]:
    """Yield each batch, the next one being read while the caller works on this one.

    Two buffers take turns: a batch is the caller's until the next one is asked for.
    """
    buffers: list[Tensor | None] = [None, None]

    def read(number: int) -> Tensor:
        batch = [images[index][0] for index in order[number]]
        buffer = buffers[number % 2]
        if buffer is None or len(buffer) != len(batch):
            buffer = buffers[number % 2] = torch.stack(batch)
        else:
            torch.stack(batch, out=buffer)
        return buffer

    with ThreadPoolExecutor(1, thread_name_prefix="read-images") as reader:
        coming = [reader.submit(read, 0)] if order else []
        for number in range(len(order)):
            batch = coming.pop().result()
            if number + 1 < len(order):
                coming.append(reader.submit(read, number + 1))
            yield batch

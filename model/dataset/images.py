"""Samples as tensors, one at a time."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.utils.data
from jaxtyping import UInt8
from torch import Generator, Tensor

from model.dataset.sample import Sample
from model.preprocess import Preprocessing, open_image

Augment: TypeAlias = Callable[[Tensor, Generator], Tensor]
"""Changes a uint8 image (3, H, W) as the generator's draws decide."""


class ImageDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Samples as uint8 tensors (3, H, W), each with its index into `samples`.

    The first images, as many as fit into `cache_bytes`, are kept once decoded. `augment` gets a
    copy of the image and a generator that depends on seed, epoch and index alone, so that worker
    processes change nothing; call `set_epoch` before each epoch. Raises `ImageError` for a file
    that cannot be used.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        augment: Augment | None = None,
        seed: int = 0,
        cache_bytes: int = 2 * 1024**3,
    ) -> None:
        self.samples = tuple(samples)
        self.preprocessing = preprocessing
        self.augment = augment
        self.seed = seed
        height, width = preprocessing.image_size
        self._cacheable = cache_bytes // (3 * height * width)
        self._cache: dict[int, Tensor] = {}
        # Shared memory: worker processes that live on into the next epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 H W"], int]:
        image = self._cache.get(index)
        if image is None:
            image = torch.from_numpy(
                self.preprocessing.to_array(open_image(self.samples[index].path))
            )
            if index < self._cacheable:
                self._cache[index] = image
        if self.augment is not None:
            image = self.augment(image.clone(), self._generator(index))
        return image, index

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose augmentation is drawn."""
        self._epoch.fill_(epoch)

    def _generator(self, index: int) -> Generator:
        key = np.random.SeedSequence((self.seed, int(self._epoch), index))
        return Generator().manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))

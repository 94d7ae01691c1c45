"""Samples as tensors, one at a time."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.utils.data
from jaxtyping import UInt8
from torch import Generator, Tensor

from model.dataset.cache import PixelCache
from model.dataset.sample import Sample
from model.images.preprocess import Preprocessing

Augment: TypeAlias = Callable[[Tensor, Generator], Tensor]
"""Changes a uint8 image (3, H, W) as the generator's draws decide."""

_PLACE = 1


class ImageDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Samples as uint8 tensors (3, H, W), each with its index into `samples`.

    An image that is tiled is one input cut out of it each time, where seed, epoch and index say.
    The first images, as many as fit into `cache_bytes`, are kept once decoded; those that `cache`
    keeps on disk are not decoded at all. `augment` gets a copy of the image and a generator that
    depends on seed, epoch and index alone, so that worker processes change nothing; call
    `set_epoch` before each epoch. Raises `ImageError` for a file that cannot be used.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        augment: Augment | None = None,
        seed: int = 0,
        cache_bytes: int = 2 * 1024**3,
        cache: PixelCache | None = None,
    ) -> None:
        self.samples = tuple(samples)
        self.preprocessing = preprocessing
        self.augment = augment
        self.seed = seed
        self._pixels = cache or PixelCache(preprocessing)
        self._room = cache_bytes
        self._kept: dict[int, UInt8[np.ndarray, "3 h w"]] = {}
        # Shared memory: worker processes that live on into the next epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 H W"], int]:
        image = torch.from_numpy(self._input(self.canvas(index), index))
        if self.augment is not None:
            image = self.augment(image.clone(), self._generator(index))
        return image, index

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose augmentation is drawn."""
        self._epoch.fill_(epoch)

    @property
    def is_on_disk(self) -> bool:
        """Whether a folder keeps the images that are read."""
        return self._pixels.keeps

    def canvas(self, index: int) -> UInt8[np.ndarray, "3 h w"]:
        """Return the image resized, before it is cut: pixels that nobody else changes."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        pixels = self._pixels.read(self.samples[index].path)
        if pixels.nbytes <= self._room:  # a little more, if two threads pass here at once
            self._room -= pixels.nbytes
            self._kept[index] = pixels
        return pixels

    def _input(self, canvas: UInt8[np.ndarray, "3 h w"], index: int) -> UInt8[np.ndarray, "3 H W"]:
        height, width = self.preprocessing.image_size
        if canvas.shape[1:] == (height, width):
            return canvas
        places = np.random.default_rng((self.seed, int(self._epoch), index, _PLACE))
        top = int(places.integers(canvas.shape[1] - height + 1))
        left = int(places.integers(canvas.shape[2] - width + 1))
        return np.array(canvas[:, top : top + height, left : left + width])

    def _generator(self, index: int) -> Generator:
        key = np.random.SeedSequence((self.seed, int(self._epoch), index))
        return Generator().manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))

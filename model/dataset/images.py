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
"""Changes a uint8 image (3, H, W) at random, using the generator."""

_PLACE = 1


class ImageDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Samples as uint8 tensors (3, H, W), each with its index into `samples`.

    A tiled image gives one random crop per epoch. The first decoded images stay in memory, up to
    `cache_bytes`; images in the disk `cache` are not decoded. `augment` gets a copy of the image.
    All random numbers depend only on seed, epoch and index, so the number of worker processes does
    not matter. Call `set_epoch` before each epoch. Raises `ImageError` for an unusable file.
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
        self._decoded: dict[int, UInt8[np.ndarray, "3 h w"]] = {}
        # In shared memory, so that persistent worker processes see a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 H W"], int]:
        image = torch.from_numpy(self._input(self.canvas(index), index))
        if self.augment is not None:
            image = self.augment(image.clone(), self._generator(index))
        return image, index

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch for crops and augmentation."""
        self._epoch.fill_(epoch)

    @property
    def is_on_disk(self) -> bool:
        """Whether a disk cache keeps the images."""
        return self._pixels.keeps

    def canvas(self, index: int) -> UInt8[np.ndarray, "3 h w"]:
        """Return the resized image before it is cut; no other code modifies it."""
        cached = self._decoded.get(index)
        if cached is not None:
            return cached
        pixels = self._pixels.read(self.samples[index].path)
        if pixels.nbytes <= self._room:  # not locked: two threads may exceed it slightly
            self._room -= pixels.nbytes
            self._decoded[index] = pixels
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

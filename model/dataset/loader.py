"""Load batches ahead in threads, and measure how long the caller waits for them."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter

import torch
from jaxtyping import UInt8
from torch import Tensor

from model.dataset.images import ImageDataset

_AHEAD = 2


class Loader:
    """The batches of one pass, in the given order.

    Decoding, resizing and augmentation run in `threads`, up to `ahead` batches before the caller.
    `wait_s` is the time the caller has waited, `wait_share` its share of the time since the first
    batch: near 0 unless the loop is starved. Iterate once; leaving early ends the threads. `pin`
    puts batches into pinned memory.

    An image's pixels depend only on the data set's seed, epoch and index (see `ImageDataset`), not
    on the threads. Call `set_epoch` only between two passes.
    """

    def __init__(
        self,
        images: ImageDataset,
        order: Sequence[Sequence[int]],
        threads: int | None = None,
        ahead: int = _AHEAD,
        pin: bool = False,
    ) -> None:
        self.wait_s = 0.0
        self._images = images
        self._order = order
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._ahead = max(1, ahead)
        self._pin = pin
        self._began = 0.0
        self._ended = 0.0

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._order)

    @property
    def wait_share(self) -> float:
        """Share of the time so far spent waiting for images, 0 to 1."""
        if not self._began:
            return 0.0
        passed = (self._ended or perf_counter()) - self._began
        return min(1.0, self.wait_s / passed) if passed > 0 else 0.0

    def __iter__(self) -> Iterator[UInt8[Tensor, "B 3 H W"]]:
        """Yield each batch; raises `ImageError` for an unusable image."""
        self._began, self._ended, self.wait_s = perf_counter(), 0.0, 0.0
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="read-images")
        coming: deque[list[Future[Tensor]]] = deque()
        left = iter(self._order)
        try:
            for batch in left:
                coming.append([pool.submit(self._read, index) for index in batch])
                if len(coming) > self._ahead:
                    yield self._taken(coming.popleft())
            while coming:
                yield self._taken(coming.popleft())
        finally:
            self._ended = perf_counter()
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, index: int) -> Tensor:
        return self._images[index][0]

    def _taken(self, batch: Sequence[Future[Tensor]]) -> Tensor:
        began = perf_counter()
        stacked = torch.stack([future.result() for future in batch])
        self.wait_s += perf_counter() - began
        return stacked.pin_memory() if self._pin else stacked

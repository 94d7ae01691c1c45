"""Batches of images, framed for the detector."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from model.dataset.sample import Sample
from model.images.decoding import open_image
from model.images.preprocess import Preprocessing
from model.inspection import Category, ImageSize


@dataclass(frozen=True, slots=True, eq=False)
class InspectionBatch:
    """Arguments for `Detector.inspect` and `Detector.image_maps`.

    `images` are the network's inputs in order; a tiled image has several. `image_sizes` are the
    upright images' sizes.
    """

    samples: tuple[Sample, ...]
    images: UInt8[np.ndarray, "B 3 H W"]
    image_sizes: tuple[ImageSize, ...]

    @property
    def categories(self) -> list[Category]:
        """The category of each image."""
        return [sample.category for sample in self.samples]


def inspection_batches(
    samples: Sequence[Sample], preprocessing: Preprocessing, batch_size: int
) -> Iterator[InspectionBatch]:
    """Yield batches in order; threads read ahead. Raises `ImageError`."""
    groups = [samples[i : i + batch_size] for i in range(0, len(samples), batch_size)]
    coming: deque[list[Future[tuple[UInt8[np.ndarray, "n 3 H W"], ImageSize]]]] = deque()
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="read-images")
    try:
        for number, group in enumerate(groups):
            while len(coming) + number < min(number + 2, len(groups)):
                ahead = groups[number + len(coming)]
                coming.append([pool.submit(_framed, sample, preprocessing) for sample in ahead])
            framed = [future.result() for future in coming.popleft()]
            images = np.concatenate([inputs for inputs, _ in framed])
            yield InspectionBatch(tuple(group), images, tuple(size for _, size in framed))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _framed(
    sample: Sample, preprocessing: Preprocessing
) -> tuple[UInt8[np.ndarray, "n 3 H W"], ImageSize]:
    image = preprocessing.upright(open_image(sample.path))
    return preprocessing.to_arrays(image), ImageSize(image.height, image.width)

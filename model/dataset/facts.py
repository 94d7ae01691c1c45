"""Properties of a data set's images and masks; threads open each file once."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import imagehash
import numpy as np
from jaxtyping import Bool
from PIL import Image

from model.dataset.masks import marked_pixels
from model.dataset.sample import Dataset, Sample
from model.errors import DatasetError, ImageError
from model.images.content import is_blank
from model.images.decoding import open_image
from model.images.preprocess import SIXTEEN_BIT, upright

HASH_SIDE = 16
"""Gives a perceptual hash of 256 bits; with 64, most parts in one fixture look like duplicates."""


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One image: upright `size` (width, height) and stored `mode`; None if `error` is set.

    `digest` is of the pixels and does not depend on the file format; `levels` is the highest value
    of a 16-bit image; `is_blank`: all pixels are equal; `marked` is the share of pixels that the
    mask marks, `mask_error` why the mask is unusable.
    """

    sample: Sample
    split: str
    size: tuple[int, int] | None = None
    mode: str | None = None
    error: str | None = None
    digest: str = ""
    hash: Bool[np.ndarray, " bits"] | None = None
    levels: int | None = None
    is_blank: bool = False
    marked: float | None = None
    mask_error: str | None = None


def gather(dataset: Dataset, advance: Callable[[int], None] = lambda _images: None) -> list[Facts]:
    """Open every image and mask of a data set; calls `advance` with each number done."""
    entries = [(sample, split) for split, samples in dataset.splits.items() for sample in samples]
    return _looked(entries, advance)


def _looked(entries: Sequence[tuple[Sample, str]], advance: Callable[[int], None]) -> list[Facts]:
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        return list(_counted(threads.map(lambda entry: look(*entry), entries), advance))


def look(sample: Sample, split: str) -> Facts:
    """Open one image and its mask."""
    try:
        stored = open_image(sample.path)
        image = upright(stored)
    except ImageError as error:
        return Facts(sample, split, error=str(error))
    levels = int(np.asarray(stored).max()) if stored.mode in SIXTEEN_BIT else None
    marked, mask_error = _mask(sample)
    return Facts(
        sample,
        split,
        image.size,
        stored.mode,
        digest=_digest(image),
        hash=imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel(),
        levels=levels,
        is_blank=is_blank(stored if levels is not None else image),
        marked=marked,
        mask_error=mask_error,
    )


def _mask(sample: Sample) -> tuple[float | None, str | None]:
    if sample.mask is None or sample.is_good:
        return None, None
    try:
        return float(marked_pixels(sample).mean()), None
    except (DatasetError, ImageError, OSError) as error:
        return None, str(error)


def _digest(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _counted(facts: Iterator[Facts], advance: Callable[[int], None]) -> Iterator[Facts]:
    for image in facts:
        yield image
        advance(1)


def readable(facts: Sequence[Facts]) -> list[Facts]:
    """Return the images that could be opened."""
    return [image for image in facts if image.error is None]

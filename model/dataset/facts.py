"""What the files of a data set are: each opened once, in threads, and looked at."""

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
"""A perceptual hash has 256 bits: 64 call most pairs of parts in one fixture duplicates."""


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One image: `size` is (width, height) upright, `mode` as stored; None where `error` is set.

    `digest` is of the pixels, whatever the file's format; `levels` the highest value of a 16-bit
    image; `is_blank` whether nothing can be seen on it; `marked` the share of the image that its
    mask marks, `mask_error` why there is none.
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
    """Look at every image and mask of a data set; `advance` hears how many were done."""
    known = [(sample, split) for split, samples in dataset.splits.items() for sample in samples]
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        return list(_counted(threads.map(lambda entry: look(*entry), known), advance))


def look(sample: Sample, split: str) -> Facts:
    """Open one image, and its mask."""
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
    found = hashlib.sha256(f"{image.mode} {image.size}".encode())
    found.update(image.tobytes())
    return found.hexdigest()


def _counted(found: Iterator[Facts], advance: Callable[[int], None]) -> Iterator[Facts]:
    for one in found:
        yield one
        advance(1)


def readable(facts: Sequence[Facts]) -> list[Facts]:
    """Return the images that could be opened."""
    return [one for one in facts if one.error is None]

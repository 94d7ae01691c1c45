"""Find images without content before training uses them."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from model.dataset.images import ImageDataset
from model.dataset.sample import Sample
from model.errors import DatasetError
from model.images.content import are_blank
from model.images.preprocess import Preprocessing

_NAMED = 3


def check_content(images: ImageDataset, others: Sequence[Sample]) -> None:
    """Raise `DatasetError` if an image is blank, or if all images are the same picture.

    Reads each image once. Unless they have a disk cache, `images` stay in memory if there is room;
    `others` do not.
    """
    first = _unkept(images.samples, images.preprocessing) if images.is_on_disk else images
    sets = (first, _unkept(others, images.preprocessing))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for part in sets:
            looks = list(threads.map(partial(_look, part), range(len(part))))
            blank = [part.samples[i].path for i, (is_blank, _) in enumerate(looks) if is_blank]
            if blank:
                raise DatasetError(
                    f"{len(blank)} of {len(looks)} good images are blank: all pixels are equal "
                    f"({_names(blank)}). Remove them, or give --grey-bits if 16-bit images use "
                    "fewer bits; mambaad data check lists all of them"
                )
            if len(looks) > 1 and len({digest for _, digest in looks}) == 1:
                raise DatasetError(
                    f"all {len(looks)} good images are the same picture "
                    f"({_names([sample.path for sample in part.samples])}): expected pictures of "
                    "different parts"
                )


def _unkept(samples: Sequence[Sample], preprocessing: Preprocessing) -> ImageDataset:
    return ImageDataset(samples, preprocessing, cache_bytes=0)


def _look(images: ImageDataset, index: int) -> tuple[bool, bytes]:
    pixels = images.canvas(index)
    return are_blank(pixels), hashlib.sha256(pixels.tobytes()).digest()


def _names(paths: Sequence[Path]) -> str:
    more = ", ..." if len(paths) > _NAMED else ""
    return ", ".join(map(str, paths[:_NAMED])) + more

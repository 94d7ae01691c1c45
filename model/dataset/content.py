"""Images without content, found before a training learns from them."""

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
    """Raise `DatasetError` where any of the images, or all together, show nothing or one picture.

    Each image is read once. Those of the set are kept in memory where there is room; a cache on
    disk keeps what an epoch reads, and the others are not kept.
    """
    first = _unkept(images.samples, images.preprocessing) if images.is_on_disk else images
    sets = (first, _unkept(others, images.preprocessing))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for part in sets:
            looks = list(threads.map(partial(_look, part), range(len(part))))
            blank = [part.samples[i].path for i, (is_blank, _) in enumerate(looks) if is_blank]
            if blank:
                raise DatasetError(
                    f"{len(blank)} of {len(looks)} good images show nothing: every pixel is alike "
                    f"({_names(blank)}). Take them out, or give --grey-bits where 16-bit images "
                    "use fewer; mambaad data check lists all of them"
                )
            if len(looks) > 1 and len({digest for _, digest in looks}) == 1:
                raise DatasetError(
                    f"all {len(looks)} good images are the same picture "
                    f"({_names([sample.path for sample in part.samples])}): nothing but it could "
                    "be learned"
                )


def _unkept(samples: Sequence[Sample], preprocessing: Preprocessing) -> ImageDataset:
    return ImageDataset(samples, preprocessing, cache_bytes=0)


def _look(images: ImageDataset, index: int) -> tuple[bool, bytes]:
    pixels = images.canvas(index)
    return are_blank(pixels), hashlib.sha256(pixels.tobytes()).digest()


def _names(paths: Sequence[Path]) -> str:
    more = ", ..." if len(paths) > _NAMED else ""
    return ", ".join(map(str, paths[:_NAMED])) + more

"""Images without content, found before a training learns from them."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.dataset.images import ImageDataset
from model.errors import DatasetError
from model.images.content import are_blank

_NAMED = 3


def check_content(sets: Iterable[ImageDataset]) -> None:
    """Raise `DatasetError` for images to train on that show nothing, or all the same picture.

    Each image is read once; a set keeps what it has room for, so that the first epoch need not.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for images in sets:
            looks = list(threads.map(lambda i, images=images: _look(images, i), range(len(images))))
            blank = [images.samples[i].path for i, (is_blank, _) in enumerate(looks) if is_blank]
            if blank:
                raise DatasetError(
                    f"{len(blank)} of {len(looks)} good images show nothing: every pixel is alike "
                    f"({_names(blank)}). Take them out, or give --grey-bits where 16-bit images "
                    "use fewer; mambaad data check lists all of them"
                )
            if len(looks) > 1 and len({digest for _, digest in looks}) == 1:
                raise DatasetError(
                    f"all {len(looks)} good images are the same picture "
                    f"({_names([sample.path for sample in images.samples])}): nothing but it could "
                    "be learned"
                )


def _look(images: ImageDataset, index: int) -> tuple[bool, bytes]:
    pixels = images.canvas(index)
    return are_blank(pixels), hashlib.sha256(pixels.tobytes()).digest()


def _names(paths: Sequence[Path]) -> str:
    more = ", ..." if len(paths) > _NAMED else ""
    return ", ".join(map(str, paths[:_NAMED])) + more

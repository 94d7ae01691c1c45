"""Identify images by content: digests of a file and of its pixels."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.dataset.sample import Sample
from model.images.decoding import open_image
from model.images.preprocess import upright
from model.inspection import Category

HALF = 32
"""Hex digits of each digest; a fingerprint is the file's digest and then the pixels' digest."""


def fingerprint(path: Path) -> str:
    """Return the digests of a file's bytes and of its upright pixels; raises `ImageError`.

    The second digest does not change when a picture is saved again without loss.
    """
    image = upright(open_image(path))
    pixels = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=HALF // 2)
    pixels.update(image.tobytes())
    return (
        hashlib.blake2b(path.read_bytes(), digest_size=HALF // 2).hexdigest() + pixels.hexdigest()
    )


def halves(digest: str) -> tuple[str, str]:
    """Return a fingerprint's two digests; images that share one of them are the same."""
    return digest[:HALF], digest[HALF:]


def fingerprints(
    samples: Sequence[Sample], advance: Callable[[int], None] = lambda _images: None
) -> list[str]:
    """Return the samples' fingerprints in order; calls `advance` with each number done."""
    digests = []
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        for digest in threads.map(lambda sample: fingerprint(sample.path), samples):
            digests.append(digest)
            advance(1)
    return digests


def by_category(samples: Sequence[Sample]) -> dict[Category, list[str]]:
    """Return the fingerprints of each category's images."""
    groups: defaultdict[Category, list[str]] = defaultdict(list)
    for sample, digest in zip(samples, fingerprints(samples), strict=True):
        groups[sample.category].append(digest)
    return dict(sorted(groups.items()))

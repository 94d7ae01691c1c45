"""Which image is which, whatever it is called: digests of a file and of the pixels it holds."""

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
"""Hex digits of either digest; a fingerprint is that of the file, then that of the pixels."""


def fingerprint(path: Path) -> str:
    """Return the digests of a file's bytes and of its upright pixels; raises `ImageError`.

    The second one is the same for a picture that was stored anew without loss.
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
    """Return the samples' fingerprints, in their order; `advance` hears how many were done."""
    found = []
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        for digest in threads.map(lambda sample: fingerprint(sample.path), samples):
            found.append(digest)
            advance(1)
    return found


def by_category(samples: Sequence[Sample]) -> dict[Category, list[str]]:
    """Return the fingerprints of each category's images."""
    found: defaultdict[Category, list[str]] = defaultdict(list)
    for sample, digest in zip(samples, fingerprints(samples), strict=True):
        found[sample.category].append(digest)
    return dict(sorted(found.items()))

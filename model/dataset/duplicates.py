"""Find identical and nearly identical images, which must not be in both training and test."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy

from model.dataset.facts import Facts, look, readable
from model.dataset.sample import Sample

NEAR_BITS = 16
"""Near duplicates: perceptual hashes (256 bits) of one image after scaling or JPEG compression
differ by at most about 16 bits; two solar cells differ by 36 or more in 999 of 1000 pairs."""
_TOO_ALIKE = 0.01
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images; `bits` is the Hamming distance of their hashes, None for the same pixels."""

    first: Facts
    second: Facts
    bits: int | None

    @property
    def across(self) -> bool:
        """Whether the images are in different splits."""
        return self.first.split != self.second.split

    @property
    def contradicts(self) -> bool:
        """Whether one image is labelled good and the other defective."""
        return self.first.sample.is_good != self.second.sample.is_good


def exact_pairs(facts: Sequence[Facts]) -> list[Pair]:
    """Pair each image with the first one of the same pixels, in any category."""
    first: dict[str, Facts] = {}
    pairs = []
    for image in facts:
        original = first.setdefault(image.digest, image)
        if original is not image:
            pairs.append(Pair(original, image, None))
    return pairs


def near_pairs(facts: Sequence[Facts]) -> tuple[list[Pair], list[str]]:
    """Pair images of one category that look the same but have different pixels, across splits.

    Also return the categories in which more than 1 % of pairs look the same: there the hash sees
    the fixture instead of the part.
    """
    groups: dict[str, list[Facts]] = defaultdict(list)
    for image in facts:
        groups[image.sample.category].append(image)
    pairs: list[Pair] = []
    unclear = []
    for category, group in sorted(groups.items()):
        close = list(_close(group))
        if _too_many(close, group):
            unclear.append(category)
        else:
            pairs += [Pair(group[i], group[j], bits) for i, j, bits in close]
    return [pair for pair in pairs if pair.across], unclear


def alike(samples: Sequence[Sample]) -> list[frozenset[Sample]]:
    """Return the sets of images of one category that look the same, each of at least two.

    Each image is read once. Where too many pairs look the same to tell (as in `near_pairs`), or all
    images of a category do, only images of the same pixels are in one set. Unreadable images are
    in none.
    """
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        seen = readable(list(threads.map(lambda sample: look(sample, ""), samples)))
    groups: dict[str, list[Facts]] = defaultdict(list)
    for image in seen:
        groups[image.sample.category].append(image)
    return [parts for _, group in sorted(groups.items()) for parts in _alike(group)]


def _alike(group: Sequence[Facts]) -> list[frozenset[Sample]]:
    first: dict[str, int] = {}
    same = [(first.setdefault(image.digest, i), i) for i, image in enumerate(group)]
    close = list(_close(group))
    if not _too_many(close, group):
        joined = _connected(group, [*same, *((i, j) for i, j, _ in close)])
        if len(joined) != 1 or len(joined[0]) < len(group):
            return joined
    return _connected(group, same)


def _connected(group: Sequence[Facts], links: Sequence[tuple[int, int]]) -> list[frozenset[Sample]]:
    """Return the sets of at least two images that the links between indices connect."""
    rows, columns = np.array(links).T
    graph = scipy.sparse.coo_array(
        (np.ones(len(links)), (rows, columns)), shape=(len(group), len(group))
    )
    _, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
    sets: dict[int, list[Sample]] = defaultdict(list)
    for label, image in zip(labels.tolist(), group, strict=True):
        sets[label].append(image.sample)
    return [frozenset(parts) for parts in sets.values() if len(parts) > 1]


def _too_many(close: Sequence[tuple[int, int, int]], group: Sequence[Facts]) -> bool:
    """Whether the hash sees the fixture instead of the part."""
    return len(close) > max(_TOO_ALIKE * len(group) * (len(group) - 1) / 2, len(group) / 2)


def _close(facts: Sequence[Facts]) -> Iterator[tuple[int, int, int]]:
    """Yield the indices and distance of near hashes, except for equal pixels."""
    if not facts:
        return
    # Bits as +1 and -1: the dot product is the number of equal bits minus that of different bits.
    signs = np.array([image.hash for image in facts], np.float32) * 2 - 1
    count = signs.shape[1]
    for start in range(0, len(facts), _BLOCK):
        distance = (count - signs[start : start + _BLOCK] @ signs.T) / 2
        for i, j in np.argwhere(distance <= NEAR_BITS):
            row = int(start + i)
            if row < j and facts[row].digest != facts[j].digest:
                yield row, int(j), round(float(distance[i, j]))

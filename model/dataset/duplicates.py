"""Images that are the same, or nearly: what a test may not have seen in training."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.dataset.facts import Facts

NEAR_BITS = 16
"""Perceptual hashes (256 bits) of one image stored anew, smaller or as JPEG, differ by at most
about so many; those of two solar cells by 36 and more in all but one pair of a thousand."""
_TOO_ALIKE = 0.01
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images; `bits` is how far their hashes are apart, None for the same pixels."""

    first: Facts
    second: Facts
    bits: int | None

    @property
    def across(self) -> bool:
        """Whether one is tested with, and the other one trained on or calibrated with."""
        return self.first.split != self.second.split

    @property
    def contradicts(self) -> bool:
        """Whether one is called good and the other one not."""
        return self.first.sample.is_good != self.second.sample.is_good


def exact_pairs(facts: Sequence[Facts]) -> list[Pair]:
    """Pair each image with the first one of the same pixels, of whatever category."""
    first: dict[str, Facts] = {}
    found = []
    for one in facts:
        other = first.setdefault(one.digest, one)
        if other is not one:
            found.append(Pair(other, one, None))
    return found


def near_pairs(facts: Sequence[Facts]) -> tuple[list[Pair], list[str]]:
    """Pair images of one category that look the same and are not; across splits only.

    Also return the categories that the hash cannot judge: where more than one pair in a hundred
    looks the same, it sees the fixture and not the part.
    """
    groups: dict[str, list[Facts]] = defaultdict(list)
    for one in facts:
        groups[one.sample.category].append(one)
    found: list[Pair] = []
    unclear = []
    for category, group in sorted(groups.items()):
        close = list(_close(group))
        if len(close) > max(_TOO_ALIKE * len(group) * (len(group) - 1) / 2, len(group) / 2):
            unclear.append(category)
        else:
            found += [Pair(group[i], group[j], bits) for i, j, bits in close]
    return [pair for pair in found if pair.across], unclear


def _close(facts: Sequence[Facts]) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of places of hashes that are near, those of the same pixels left out."""
    if not facts:
        return
    # Bits as +1 and -1: their product is the number of bits that agree less those that do not.
    signs = np.array([one.hash for one in facts], np.float32) * 2 - 1
    count = signs.shape[1]
    for start in range(0, len(facts), _BLOCK):
        distance = (count - signs[start : start + _BLOCK] @ signs.T) / 2
        for i, j in np.argwhere(distance <= NEAR_BITS):
            row = int(start + i)
            if row < j and facts[row].digest != facts[j].digest:
                yield row, int(j), round(float(distance[i, j]))

"""Cuts a scan into units of work: blocks of channels, and groups of directions."""

from functools import lru_cache
from typing import TypeAlias

BlockShape: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]

MULTIPLE = 8
"""The kernels take channel counts that are multiples of this."""


@lru_cache(maxsize=64)
def block_shape(channels: int) -> BlockShape:
    """Return a wide block that divides `channels`, as tuples of ones: vectors and lanes."""
    lanes = 16 if channels % 16 == 0 else MULTIPLE
    vectors = next(v for v in (4, 3, 5, 2, 1) if channels // lanes % v == 0)
    return (1,) * vectors, (1,) * lanes


def divide(units: int, directions: int, threads: int) -> int:
    """Return the fewest groups of directions that keep every thread busy."""
    groups = 1
    while groups < directions and (units * groups) % threads and units * groups < 4 * threads:
        groups *= 2
    return groups


def width(channels: int) -> int:
    """Return the channels of a block."""
    vectors, lanes = block_shape(channels)
    return len(vectors) * len(lanes)

"""Cuts a scan into units of work: blocks of channels, and groups of directions."""

from functools import lru_cache
from typing import TypeAlias

import llvmlite.binding
from numba import config

BlockShape: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

MULTIPLE = 8
"""The kernels take channel counts that are multiples of this."""


@lru_cache(maxsize=1)
def _has_avx2_alone() -> bool:
    """Return whether kernels are compiled for a processor with AVX2 and not AVX-512."""
    if config.CPU_NAME or config.CPU_FEATURES:  # for another processor
        return False
    features = llvmlite.binding.get_host_cpu_features()
    return features.get("avx2", False) and not features.get("avx512f", False)


@lru_cache(maxsize=64)
def block_shape(channels: int) -> BlockShape:
    """Return a wide block that divides `channels`, as tuples of ones: vectors, lanes and tables."""
    has_table = _has_avx2_alone()
    lanes = MULTIPLE if has_table or channels % 16 else 16
    widths = [8, 6, 10, 4, 3, 5, 2, 1] if has_table else [4, 3, 5, 2, 1]
    vectors = next(v for v in widths if channels // lanes % v == 0)
    return (1,) * vectors, (1,) * lanes, (1,) * has_table


def divide(units: int, directions: int, threads: int) -> int:
    """Return the fewest groups of directions that keep every thread busy."""
    groups = 1
    while groups < directions and (units * groups) % threads and units * groups < 4 * threads:
        groups *= 2
    return groups


def width(channels: int) -> int:
    """Return the channels of a block."""
    vectors, lanes, _ = block_shape(channels)
    return len(vectors) * len(lanes)

"""The tensors that the manifest requires in the files beside a network."""

import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

from model.checkpoints.headers import FLOATS, PIXELS, Check, Header, Tensor, exactly
from model.checkpoints.manifest import GoldenEntry
from model.errors import CheckpointError
from model.scoring.scores import Scoring

_MOST_GOLDEN_BYTES = 2**31
_STRIDES = (4, 8, 16)
_MEAN = re.compile(r"mean_(\d)/(.+)")
_PATCHES = re.compile(r"patches/(.+)")
_OF_MEMORY = re.compile(r"(transform|scale)/(.+)")


def of_golden(entries: Mapping[str, GoldenEntry], size: tuple[int, int]) -> Callable[[Path], Check]:
    """Return the check of golden images: one image per score of each category."""

    def check_of(path: Path) -> Check:
        expected = {
            category: Tensor(PIXELS, (len(entry.raw_scores), 3, *size))
            for category, entry in entries.items()
        }
        nbytes = sum(prod(tensor.shape) for tensor in expected.values())
        if nbytes > _MOST_GOLDEN_BYTES:
            raise CheckpointError(
                f"{path} must have {nbytes} bytes of golden images, more than the limit of "
                f"{_MOST_GOLDEN_BYTES}"
            )
        return exactly(path, expected)

    return check_of


def of_baselines(scoring: Scoring, size: tuple[int, int]) -> Callable[[Path], Check]:
    """Return the check of baselines for maps of `size` (height, width) pixels."""

    def check_of(path: Path) -> Check:
        return lambda header: _check_baselines(path, header, scoring, size)

    return check_of


def _check_baselines(path: Path, header: Header, scoring: Scoring, size: tuple[int, int]) -> None:
    if scoring.memory:
        header = _check_memories(path, header, scoring)
    if scoring.measures_differences:
        _check_features(path, header, scoring, size)
    elif scoring.standardise or not scoring.memory:
        _check_maps(path, header, size)
    else:
        exactly(path, {})(header)


def _check_memories(path: Path, header: Header, scoring: Scoring) -> Header:
    """Expect at most the scoring's number of patches, a transform and a scale of each category.

    Returns the other tensors.
    """
    expected, memories = {}, {}
    for name, tensor in header.items():
        if match := _PATCHES.fullmatch(name):
            count, channels = tensor.shape if len(tensor.shape) == 2 else (0, 0)
            most = (min(max(count, 1), scoring.memory), max(channels, 1))
            expected[name] = Tensor(FLOATS, most)
            expected[f"transform/{match[1]}"] = Tensor(FLOATS, (most[1], most[1]))
            expected[f"scale/{match[1]}"] = Tensor(FLOATS, (2, 2))
    for name, tensor in header.items():
        if name in expected or _OF_MEMORY.fullmatch(name):
            memories[name] = tensor
    exactly(path, expected)(memories)
    return {name: tensor for name, tensor in header.items() if name not in memories}


def _check_maps(path: Path, header: Header, size: tuple[int, int]) -> None:
    """Expect maps of `size`, for any categories."""
    exactly(path, dict.fromkeys(header, Tensor(FLOATS, size)))(header)


def _check_features(path: Path, header: Header, scoring: Scoring, size: tuple[int, int]) -> None:
    """Expect a Gaussian at each place of a scale's grid, with the channels of the means.

    Whitening needs a fixed multiple of the file's size in memory.
    """
    grids = [tuple(side // stride for side in size) for stride in _STRIDES]
    used = [grid for grid, weight in zip(grids, scoring.scale_weights, strict=True) if weight]
    expected = {}
    for name, tensor in header.items():
        match = _MEAN.fullmatch(name)
        if not match or int(match[1]) >= len(used) or len(tensor.shape) != 3:
            continue
        number, category = match.groups()
        channels, grid = tensor.shape[0], used[int(number)]
        expected[name] = Tensor(FLOATS, (channels, *grid))
        triangle = channels * (channels + 1) // 2
        expected[f"whitening_{number}/{category}"] = Tensor(FLOATS, (prod(grid), triangle))
        expected[f"unit_{number}/{category}"] = Tensor(FLOATS, (prod(grid),))
    exactly(path, expected)(header)

"""Draw defects into a good part's picture, inside its inspected area."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from model.errors import DatasetError
from model.synthetic import Kind, Strength, draw_each_strength

LARGEST_WINDOW_PX = 512
"""The largest side of the part of a picture that a defect is drawn for: it sets the defect's size,
and drawing takes time by it."""

_SMALLEST_WINDOW_PX = 32
_LEAST_INSIDE = 0.5
"""The least share of a faint defect's pixels that must be inspected."""

_TRIES = 12

Picture = UInt8[np.ndarray, "3 h w"]
_Window = tuple[slice, slice]


def draw_inside(
    picture: UInt8[np.ndarray, "3 h w"],
    inside: Bool[np.ndarray, "h w"] | None,
    kind: Kind,
    seed: Sequence[int],
) -> Mapping[Strength, Picture] | None:
    """Return the picture with the same defect at each strength; pixels outside do not change.

    `inside` marks the inspected pixels, None all of them. Depends on nothing but the arguments.
    Returns None if this kind of defect would not be visible there.
    """
    for attempt in range(_TRIES):
        window = _window(picture.shape[1:], inside, np.random.default_rng((*seed, attempt)))
        patch = np.ascontiguousarray(picture[:, *window].transpose(1, 2, 0))
        counted = np.ones(patch.shape[:2], bool) if inside is None else inside[window]
        try:
            drawn = draw_each_strength(patch, kind, (*seed, attempt))
        except DatasetError:  # it has tried many places already
            return None
        faint = drawn[Strength.FAINT].mask
        if np.count_nonzero(faint & counted) >= _LEAST_INSIDE * np.count_nonzero(faint):
            return {s: _replaced(picture, window, counted, drawn[s].image) for s in Strength}
    return None


def _window(
    shape: tuple[int, ...], inside: Bool[np.ndarray, "h w"] | None, rng: np.random.Generator
) -> _Window:
    """Return the inspected area's bounding box, or a random part of it if that is too large."""
    slices = []
    for axis, length in enumerate(shape):
        used = np.arange(length) if inside is None else np.flatnonzero(inside.any(axis=1 - axis))
        low, high = int(used[0]), int(used[-1]) + 1
        size = min(length, LARGEST_WINDOW_PX, max(_SMALLEST_WINDOW_PX, high - low))
        most = max(low, high - size)
        start = min(int(rng.integers(low, most + 1)), length - size)
        slices.append(slice(start, start + size))
    return slices[0], slices[1]


def _replaced(
    picture: Picture,
    window: _Window,
    counted: Bool[np.ndarray, "rows columns"],
    image: UInt8[np.ndarray, "rows columns 3"],
) -> Picture:
    changed = picture.copy()
    part = changed[:, *window]
    part[:, counted] = image.transpose(2, 0, 1)[:, counted]
    return changed

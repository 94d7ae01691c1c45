"""Remembered patches of good parts: the distance of each place from the nearest of them.

Unlike a Gaussian at each place, a memory needs no parts that lie the same way: it compares a place
with all places of good parts. Source: PatchCore (Roth et al. 2022). Distances are measured after a
`transform` of the channels, such as a partial whitening (`model.scoring.whitening`).

    k  patches      C  channels          P  places, h * w       B  batch
    h, w  the grid of stride 8           H, W  size of the anomaly map
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32

from model.scoring.smoothing import Stretch

_AT_ONCE = 256
"""Places whose distances are computed at once: with 2,000 patches, 2 MB, which caches hold."""


class _Scratch(threading.local):
    """Memory that a thread uses for every image: the system clears new pages slowly."""

    def __init__(self) -> None:
        self._floats = np.empty(0, np.float32)

    def matrices(self, *shapes: tuple[int, int]) -> Iterator[Float32[np.ndarray, "_ _"]]:
        """Yield matrices of these shapes, to be used until the next call."""
        sizes = [rows * columns for rows, columns in shapes]
        if len(self._floats) < sum(sizes):
            self._floats = np.empty(sum(sizes), np.float32)
        start = 0
        for shape, size in zip(shapes, sizes, strict=True):
            yield self._floats[start : start + size].reshape(shape)
            start += size


_scratch = _Scratch()


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """One category's remembered patches, for maps of `size` pixels that are blurred by `sigma`.

    Raises `ValueError` for patches that are empty or not finite, or a transform that does not fit.
    """

    patches: Float32[np.ndarray, "k C"]
    transform: Float32[np.ndarray, "C C"]
    grid: tuple[int, int]
    size: tuple[int, int]
    sigma: float
    stretch: Stretch = field(init=False, repr=False)
    _origin: Float32[np.ndarray, "C 1"] = field(init=False, repr=False)
    _against: Float32[np.ndarray, "k _"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.patches.ndim != 2 or not self.patches.size or not np.isfinite(self.patches).all():
            raise ValueError(
                f"a memory needs patches of finite numbers, got shape {self.patches.shape}"
            )
        channels = self.patches.shape[1]
        if self.transform.shape != (channels, channels) or not np.isfinite(self.transform).all():
            raise ValueError(
                f"a memory of {channels} channels needs a transform of finite numbers of shape "
                f"{(channels, channels)}, got shape {self.transform.shape}"
            )
        origin = self.patches.mean(axis=0, dtype=np.float64).astype(np.float32)
        with np.errstate(over="ignore"):
            centred = (self.patches - origin) @ self.transform.T
        halves = np.einsum("kc,kc->k", centred, centred) / 2
        object.__setattr__(self, "_origin", origin[:, None])
        object.__setattr__(self, "_against", np.column_stack([centred, -halves]))
        object.__setattr__(self, "stretch", Stretch(self.grid, self.size, self.sigma))

    @property
    def channels(self) -> int:
        """The number of channels of a patch."""
        return len(self._origin)

    @property
    def features(self) -> int:
        """The number of values of an image's patches, C * h * w."""
        return self.channels * self.grid[0] * self.grid[1]

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.patches.nbytes + self.transform.nbytes + self._against.nbytes

    @property
    def origin(self) -> Float32[np.ndarray, " C"]:
        """The mean of the patches."""
        return self._origin[:, 0]

    @property
    def against(self) -> Float32[np.ndarray, "k _"]:
        """The transformed patches about their mean, then minus half their squared lengths."""
        return self._against

    def distances(self, features: Float[np.ndarray, "B C h w"]) -> Float32[np.ndarray, "B h w"]:
        """Return each place's distance to the nearest patch; NaN where a feature is not finite.

        From |x|^2 + |p|^2 - 2xp, in float32, with x and p about the patches' mean, transformed:
        about 0, they would cancel.
        """
        flat = features.reshape(len(features), self.channels, -1)
        squares = np.empty((len(flat), flat.shape[2]), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # a failed network's NaN passes through
            for image, found in zip(flat, squares, strict=True):
                for start in range(0, image.shape[1], _AT_ONCE):
                    places = slice(start, start + _AT_ONCE)
                    self._squares(image[:, places], found[places])
            distances: np.ndarray = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
        return distances.reshape(-1, *self.grid)

    def maps(self, features: Float[np.ndarray, "B F"]) -> Float32[np.ndarray, "B H W"]:
        """Return the anomaly maps of flat features."""
        maps = np.empty((len(features), *self.size), np.float32)
        shape = (1, self.channels, *self.grid)
        for row, values in zip(features, maps, strict=True):
            values[:] = self.stretch(self.distances(row.reshape(shape))[0])
        return maps

    def _squares(self, image: Float[np.ndarray, "C n"], squares: Float32[np.ndarray, " n"]) -> None:
        """Write the squared distances of a few places."""
        channels, count = image.shape
        patches = len(self.patches)
        raw, about, products = _scratch.matrices(
            (channels, count), (channels + 1, count), (patches, count)
        )
        np.subtract(image, self._origin, out=raw)
        np.matmul(self.transform, raw, out=about[:-1])
        about[-1] = 1
        np.matmul(self._against, about, out=products)  # xp - |p|^2 / 2
        np.einsum("cn,cn->n", about[:-1], about[:-1], out=squares)
        squares -= 2 * products.max(axis=0)

"""A Gaussian of the differences of features at each place of one scale's grid.

P  places, h * w      C  channels of the scale      n  images
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float16, Float32

from model.errors import CalibrationError

Shape: TypeAlias = tuple[int, int, int]
"""Channels, height and width of one scale's features."""

_FLOOR = 1e-6
"""Added to every variance, as a share of the mean one, for channels that never vary."""
_STAIR = 16
"""Rows of a triangle multiplied at once, up to the last row's diagonal: half the memory and half
the products of full squares."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """One scale's mean difference at each place of its grid, and the whitening matrices.

    `stairs` hold rows of the matrices' lower triangles, each `_STAIR` rows up to the last one's
    diagonal. `unit` is each place's largest entry.
    """

    mean: Float32[np.ndarray, "C h w"]
    stairs: tuple[Float32[np.ndarray, "P _ _"], ...]
    unit: Float32[np.ndarray, " P"]

    @classmethod
    def from_arrays(
        cls,
        mean: Float32[np.ndarray, "C h w"],
        whitening: Float16[np.ndarray, "P triangle"],
        unit: Float32[np.ndarray, " P"],
    ) -> "Gaussians":
        """Restore from stored arrays.

        `whitening` holds lower triangles row by row, divided by each place's `unit` so that 16 bits
        an entry are enough. Raises `ValueError` if shapes do not fit.
        """
        channels, height, width = mean.shape
        places, triangle = height * width, channels * (channels + 1) // 2
        if whitening.shape != (places, triangle) or unit.shape != (places,):
            raise ValueError(
                f"whitening {whitening.shape} and unit {unit.shape} do not fit mean "
                f"{mean.shape}: expected {(places, triangle)} and {(places,)}"
            )
        stairs = []
        for top, bottom in _steps(channels):
            stair = np.zeros((places, bottom - top, bottom), np.float32)
            rows, columns = _inside(top, bottom)
            part = whitening[:, _start(top) : _start(bottom)].astype(np.float32)
            stair[:, rows, columns] = part * unit[:, None]
            stairs.append(stair)
        return cls(mean, tuple(stairs), unit)

    @property
    def whitening(self) -> Float16[np.ndarray, "P triangle"]:
        """The array to store; computed at every call, and equal to the one restored from."""
        channels = len(self.mean)
        whitening = np.empty((len(self.unit), _start(channels)), np.float16)
        unit = np.where(self.unit == 0, np.float32(1), self.unit)[:, None]
        for (top, bottom), stair in zip(_steps(channels), self.stairs, strict=True):
            rows, columns = _inside(top, bottom)
            whitening[:, _start(top) : _start(bottom)] = stair[:, rows, columns] / unit
        return whitening

    @property
    def matrices(self) -> Float32[np.ndarray, "P C C"]:
        """The whitening matrix of each place; computed at every call."""
        channels = len(self.mean)
        matrices = np.zeros((len(self.unit), channels, channels), np.float32)
        for (top, bottom), stair in zip(_steps(channels), self.stairs, strict=True):
            matrices[:, top:bottom, :bottom] = stair
        return matrices

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.mean.nbytes + self.unit.nbytes + sum(stair.nbytes for stair in self.stairs)

    def distances(self, differences: Float32[np.ndarray, "C h w"]) -> Float32[np.ndarray, "h w"]:
        """Return one image's root mean square deviations, about 1 where it is good.

        Uses einsum, which runs in this thread: a BLAS's threads would go on spinning after the call
        and slow down the network's.
        """
        channels, height, width = differences.shape
        centred = np.ascontiguousarray((differences - self.mean).reshape(channels, -1).T)
        white = np.empty_like(centred)
        for (top, bottom), stair in zip(_steps(channels), self.stairs, strict=True):
            np.einsum("pij,pj->pi", stair, centred[:, :bottom], out=white[:, top:bottom])
        squares = np.einsum("pi,pi->p", white, white)
        distances: np.ndarray = np.sqrt(squares / np.float32(channels)).reshape(height, width)
        return distances

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {"mean": self.mean, "whitening": self.whitening, "unit": self.unit}


def _steps(channels: int) -> list[tuple[int, int]]:
    """Return each stair's first row, and the row after its last."""
    return [(top, min(top + _STAIR, channels)) for top in range(0, channels, _STAIR)]


def _start(row: int) -> int:
    """Return where a row begins in a triangle stored row by row."""
    return row * (row + 1) // 2


def _inside(top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of a stair's entries that are in the triangle, in its order."""
    return np.tril_indices(bottom - top, top, bottom)


class Moments:
    """First and second moments at each place, about the first image to limit rounding errors."""

    def __init__(self, shape: Shape) -> None:
        channels, height, width = shape
        self._count = 0
        self._about = np.zeros(shape, np.float32)
        self._sum = np.zeros((height * width, channels), np.float64)
        self._products = np.zeros((height * width, channels, channels), np.float32)

    def add(self, batch: Float[np.ndarray, "n C h w"]) -> None:
        """Count images in."""
        if not self._count:
            self._about[:] = batch[0]
        centred = (batch - self._about).reshape(*batch.shape[:2], -1)
        places = np.ascontiguousarray(centred.transpose(2, 0, 1))  # (P, n, C)
        self._count += len(batch)
        self._sum += places.sum(axis=1)
        self._products += np.matmul(places.transpose(0, 2, 1), places)

    def include(self, other: "Moments") -> None:
        """Count another's images in."""
        if not self._count:
            self._about[:] = other._about
        step = (other._about - self._about).reshape(len(self._about), -1).T  # (P, C)
        total = other._sum.astype(np.float32)
        products = total[:, :, None] * step[:, None]
        products += products.transpose(0, 2, 1)
        products += other._count * step[:, :, None] * step[:, None]
        self._products += other._products
        self._products += products
        self._sum += other._sum + other._count * step
        self._count += other._count

    def gaussians(self) -> Gaussians:
        """Return the Gaussians; raises `CalibrationError` for fewer than two images, or equal ones.

        Each covariance is shrunk towards its mean variance, by an amount estimated from its samples
        (OAS, Chen et al. 2010).
        """
        if self._count < 2:
            raise CalibrationError(f"a baseline needs at least two good images, got {self._count}")
        mean = (self._sum / self._count).astype(np.float32)
        covariance = self._products / self._count - mean[:, :, None] * mean[:, None]
        if not np.trace(covariance, axis1=1, axis2=2).sum() > 0:
            raise CalibrationError(
                "all good images are equal, so they have no variance; add different good images"
            )
        factors = np.linalg.inv(np.linalg.cholesky(_shrunk(covariance, self._count)))
        triangles = factors[:, *np.tril_indices(factors.shape[1])]
        unit = np.abs(triangles).max(axis=1)
        packed = (triangles / unit[:, None]).astype(np.float16)
        about = self._about + mean.T.reshape(self._about.shape)
        return Gaussians.from_arrays(about, packed, unit.astype(np.float32))


def _shrunk(covariance: Float32[np.ndarray, "P C C"], count: int) -> Float32[np.ndarray, "P C C"]:
    """Shrink each covariance towards a multiple of the identity, in place."""
    channels = covariance.shape[1]
    diagonal = np.einsum("pcc->pc", covariance)  # a view
    variance = diagonal.mean(axis=1)
    power = np.square(covariance).mean(axis=(1, 2))
    spread = np.maximum(power - np.square(variance) / channels, 1e-30)
    share = np.minimum((power + np.square(variance)) / ((count + 1) * spread), 1)
    covariance *= (1 - share)[:, None, None]
    diagonal += (share * variance + _FLOOR * variance.mean())[:, None]
    return covariance

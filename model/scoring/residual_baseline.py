"""How the features of encoder and decoder usually differ at each place of a good part.

Cosine similarity weighs all channels of a difference alike. If parts lie the same way in every
image, a Gaussian fitted on good ones describes how the difference varies at each place, across all
channels. A part's value is its Mahalanobis distance, as in PaDiM (Defard et al. 2021), but of the
reconstruction's error instead of the features, and on each scale's grid.

    P  places, h * w      C  channels of one scale    B  batch
    h, w  a scale's grid  H, W  size of the anomaly map
    F  all differences of an image, in the order of `model.scoring.residuals`
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import scipy
from jaxtyping import Float, Float16, Float32

from model.errors import CalibrationError
from model.scoring.smoothing import resize_and_blur

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

    `whitening` holds their lower triangles row by row, divided by each place's `unit` so that 16
    bits an entry are enough.
    """

    mean: Float32[np.ndarray, "C h w"]
    whitening: Float16[np.ndarray, "P triangle"]
    unit: Float32[np.ndarray, " P"]
    _stairs: tuple[Float32[np.ndarray, "P _ _"], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        channels, height, width = self.mean.shape
        places, triangle = height * width, channels * (channels + 1) // 2
        if self.whitening.shape != (places, triangle) or self.unit.shape != (places,):
            raise ValueError(
                f"whitening {self.whitening.shape} and unit {self.unit.shape} do not fit mean "
                f"{self.mean.shape}: expected {(places, triangle)} and {(places,)}"
            )
        matrices, steps = self.matrices, range(0, channels, _STAIR)
        stairs = tuple(matrices[:, n : n + _STAIR, : n + _STAIR].copy() for n in steps)
        object.__setattr__(self, "_stairs", stairs)

    @property
    def matrices(self) -> Float32[np.ndarray, "P C C"]:
        """The whitening matrix of each place; computed at every call."""
        channels = len(self.mean)
        matrices = np.zeros((len(self.whitening), channels, channels), np.float32)
        triangles = self.whitening.astype(np.float32) * self.unit[:, None]
        matrices[:, *np.tril_indices(channels)] = triangles
        return matrices

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        stored = sum(array.nbytes for array in self.to_arrays().values())
        return stored + sum(stair.nbytes for stair in self._stairs)

    def distances(self, differences: Float32[np.ndarray, "C h w"]) -> Float32[np.ndarray, "h w"]:
        """Return one image's root mean square deviations, about 1 where it is good.

        Uses einsum, which runs in this thread: a BLAS's threads would go on spinning after the call
        and slow down the network's.
        """
        channels, height, width = differences.shape
        centred = np.ascontiguousarray((differences - self.mean).reshape(channels, -1).T)
        squares = np.zeros(len(centred), np.float32)
        for stair in self._stairs:
            white = np.einsum("pij,pj->pi", stair, centred[:, : stair.shape[2]])
            squares += np.einsum("pi,pi->p", white, white)
        distances: np.ndarray = np.sqrt(squares / np.float32(channels)).reshape(height, width)
        return distances

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {"mean": self.mean, "whitening": self.whitening, "unit": self.unit}


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBaseline:
    """One category's Gaussians of each used scale, fine to coarse.

    A map has `size` (H, W) pixels; it is the mean of the scales' distances, weighted by `weights`
    (all above 0), blurred by `sigma` pixels.
    """

    scales: tuple[Gaussians, ...]
    weights: tuple[float, ...]
    size: tuple[int, int]
    sigma: float
    _down: "scipy.sparse.csr_array" = field(init=False, repr=False)  # (H, h of all scales)
    _across: tuple[Float32[np.ndarray, "_ _"], ...] = field(init=False, repr=False)  # (w, W) each

    def __post_init__(self) -> None:
        height, width = self.size
        shares = np.array(self.weights) / sum(self.weights)
        pairs = zip(self.shapes, shares, strict=True)
        down = [s * resize_and_blur(h, height, self.sigma) for (_, h, _), s in pairs]
        across = [resize_and_blur(w, width, self.sigma).T for _, _, w in self.shapes]
        # sparse: a pixel depends on few places
        joined = scipy.sparse.csr_array(np.concatenate(down, axis=1).astype(np.float32))
        object.__setattr__(self, "_down", joined)
        object.__setattr__(self, "_across", tuple(a.astype(np.float32, order="C") for a in across))

    @classmethod
    def fit(
        cls,
        batches: Iterable[Float[np.ndarray, "_ F"]],
        shapes: Sequence[Shape],
        weights: Sequence[float],
        size: tuple[int, int],
        sigma: float,
    ) -> "FeatureBaseline":
        """Fit on batches of differences; `shapes` and `weights` are those of all scales.

        Each covariance is shrunk towards its mean variance, by an amount estimated from its samples
        (OAS, Chen et al. 2010). Raises `CalibrationError` for fewer than two images, or equal ones,
        `ValueError` for differences of other shapes.
        """
        used = [shape for shape, weight in zip(shapes, weights, strict=True) if weight]
        moments = [_Moments(shape) for shape in used]
        for batch in batches:
            for moment, part in zip(moments, _cut(batch, used), strict=True):
                moment.add(part)
        gaussians = tuple(moment.gaussians() for moment in moments)
        return cls(gaussians, _above_0(weights), size, sigma)

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        weights: Sequence[float],
        size: tuple[int, int],
        sigma: float,
    ) -> "FeatureBaseline":
        """Restore from `to_arrays` output. Raises `ValueError` if names or shapes do not fit."""
        used = _above_0(weights)
        names = [(f"mean_{k}", f"whitening_{k}", f"unit_{k}") for k in range(len(used))]
        expected = {name for scale in names for name in scale}
        if arrays.keys() != expected:
            raise ValueError(
                f"a baseline of {len(used)} scales needs {', '.join(sorted(expected))}; "
                f"got {', '.join(sorted(arrays))}"
            )
        scales = tuple(Gaussians(*(arrays[name] for name in scale)) for scale in names)
        return cls(scales, used, size, sigma)

    @property
    def stretches(self) -> list[tuple[Float32[np.ndarray, "_ _"], Float32[np.ndarray, "_ _"]]]:
        """The matrices from each scale's distances to its share of the map: (H, h), (w, W)."""
        ends = np.cumsum([height for _, height, _ in self.shapes])[:-1]
        down = np.split(self._down.toarray(), ends, axis=1)
        return list(zip(down, self._across, strict=True))

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the used scales."""
        return [scale.mean.shape for scale in self.scales]

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(scale.nbytes for scale in self.scales)

    def standardise(self, values: Float32[np.ndarray, "B F"]) -> Float32[np.ndarray, "B H W"]:
        """Return the anomaly maps of differences: root mean square deviations, about 1 if good.

        Raises `ValueError` for differences of other shapes.
        """
        maps = np.empty((len(values), *self.size), np.float32)
        parts = _cut(values, self.shapes)
        with np.errstate(invalid="ignore", over="ignore"):  # a failed network's NaN passes through
            for number, differences in enumerate(zip(*parts, strict=True)):
                distances = [s.distances(d) for s, d in zip(self.scales, differences, strict=True)]
                pairs = zip(distances, self._across, strict=True)
                wide = np.concatenate([np.einsum("kl,lw->kw", *pair) for pair in pairs])
                maps[number] = self._down @ wide
        return maps

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to store, named "<array>_<index of the used scale>"."""
        return {
            f"{name}_{number}": array
            for number, scale in enumerate(self.scales)
            for name, array in scale.to_arrays().items()
        }


class _Moments:
    """First and second moments at each place, about the first image to limit rounding errors."""

    def __init__(self, shape: Shape) -> None:
        channels, height, width = shape
        self._count = 0
        self._about = np.zeros(shape, np.float32)
        self._sum = np.zeros((height * width, channels), np.float64)
        self._products = np.zeros((height * width, channels, channels), np.float32)

    def add(self, batch: Float[np.ndarray, "n C h w"]) -> None:
        if not self._count:
            self._about[:] = batch[0]
        centred = (batch - self._about).reshape(*batch.shape[:2], -1)
        places = np.ascontiguousarray(centred.transpose(2, 0, 1))  # (P, n, C)
        self._count += len(batch)
        self._sum += places.sum(axis=1)
        self._products += np.matmul(places.transpose(0, 2, 1), places)

    def gaussians(self) -> Gaussians:
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
        return Gaussians(about, packed, unit.astype(np.float32))


def _above_0(weights: Sequence[float]) -> tuple[float, ...]:
    return tuple(weight for weight in weights if weight)


def _cut(
    values: Float[np.ndarray, "B F"], shapes: Sequence[Shape]
) -> list[Float[np.ndarray, "B _ _ _"]]:
    """Return each scale's part of flat differences, in its shape."""
    sizes = [math.prod(shape) for shape in shapes]
    if values.shape[1] != sum(sizes):
        raise ValueError(
            f"shapes {shapes} need {sum(sizes)} differences an image, got {values.shape[1]}"
        )
    parts = np.split(values, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


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

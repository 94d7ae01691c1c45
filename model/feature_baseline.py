"""How the encoder's and the decoder's features usually differ at each place of a good part.

Cosine similarity weighs every channel of a difference alike. Where parts lie the same way in every
image, good ones also tell how the difference varies at that very place, channel by channel and all
together: a Gaussian. What it makes of a part's difference is Mahalanobis' distance, as PaDiM's
(Defard et al. 2021), but of what the decoder could not rebuild instead of the features themselves.

    P  places, h * w    C  channels of a difference    B  batch
    h, w  the grid      H, W  size of the anomaly map
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float16, Float32

from model.errors import CalibrationError
from model.smoothing import resize_and_blur

_FLOOR = 1e-6
"""What is added to every variance, as a share of the mean one: channels that never vary."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBaseline:
    """One category's mean difference at each place, and what whitens the rest.

    `whitening` holds the lower triangles row by row, each in units of its place's `scale`: 16 bits
    an entry are enough then. A map is `size` (H, W) pixels large, blurred by `sigma` of them.
    """

    mean: Float32[np.ndarray, "C h w"]
    whitening: Float16[np.ndarray, "P triangle"]
    scale: Float32[np.ndarray, " P"]
    size: tuple[int, int]
    sigma: float
    _rows: Float32[np.ndarray, "H h"] = field(init=False, repr=False)
    _columns: Float32[np.ndarray, "w W"] = field(init=False, repr=False)
    _matrices: Float32[np.ndarray, "P C C"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        channels, *grid = self.mean.shape
        if self.whitening.shape != (grid[0] * grid[1], channels * (channels + 1) // 2):
            raise ValueError(f"{self.whitening.shape} does not whiten {self.mean.shape}")
        rows, columns = (
            resize_and_blur(n, m, self.sigma).astype(np.float32)
            for n, m in zip(grid, self.size, strict=True)
        )
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_columns", columns.T.copy())
        object.__setattr__(self, "_matrices", self._unpacked())

    @classmethod
    def fit(
        cls, batches: Iterable[Float[np.ndarray, "_ C h w"]], size: tuple[int, int], sigma: float
    ) -> "FeatureBaseline":
        """Take the baseline of differences that come in batches.

        Covariances are drawn towards their mean variance by as much as their own samples ask for
        (Chen et al. 2010, OAS). Raises `CalibrationError` below two images, or where all are equal.
        """
        moments: _Moments | None = None
        for batch in batches:
            if moments is None:
                moments = _Moments(batch[0])
            moments.add(batch)
        if moments is None or moments.count < 2:
            count = moments.count if moments else 0
            raise CalibrationError(f"a baseline needs at least two good images, got {count}")
        mean, covariance = moments.result()
        if not np.trace(covariance, axis1=1, axis2=2).sum() > 0:
            raise CalibrationError("all good images are the same: nothing varies between them")
        factors = np.linalg.inv(np.linalg.cholesky(_shrunk(covariance, moments.count)))
        triangles = factors[:, *np.tril_indices(factors.shape[1])]
        scale = np.abs(triangles).max(axis=1)
        packed = (triangles / scale[:, None]).astype(np.float16)
        return cls(mean.astype(np.float32), packed, scale.astype(np.float32), size, sigma)

    @property
    def matrices(self) -> Float32[np.ndarray, "P C C"]:
        """What whitens a centred difference, place by place."""
        return self._matrices

    @property
    def stretch(self) -> tuple[Float32[np.ndarray, "H h"], Float32[np.ndarray, "w W"]]:
        """What makes a map of distances on the grid, from its left and from its right."""
        return self._rows, self._columns

    @property
    def nbytes(self) -> int:
        """The memory it takes."""
        return self.mean.nbytes + self.whitening.nbytes + self._matrices.nbytes

    def standardise(self, values: Float32[np.ndarray, "B C h w"]) -> Float32[np.ndarray, "B H W"]:
        """Return the anomaly maps of differences: root mean square deviations, about 1 if good."""
        return np.stack([self._map(differences) for differences in values])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what is stored."""
        return {"mean": self.mean, "whitening": self.whitening, "scale": self.scale}

    def _map(self, differences: Float32[np.ndarray, "C h w"]) -> Float32[np.ndarray, "H W"]:
        """Measure one image.

        By einsum, which computes here and now: a BLAS would wake threads of its own, and those go
        on spinning for a while and hold up the network's.
        """
        channels, height, width = differences.shape
        with np.errstate(invalid="ignore", over="ignore"):  # a failed network's stay not finite
            centred = np.ascontiguousarray((differences - self.mean).reshape(channels, -1).T)
            white = np.einsum("pij,pj->pi", self._matrices, centred)
            distances = np.sqrt(np.square(white, out=white).mean(axis=1)).reshape(height, width)
            tall = np.einsum("hk,kl->hl", self._rows, distances)
            found: np.ndarray = np.einsum("hk,kw->hw", tall, self._columns)
        return found

    def _unpacked(self) -> Float32[np.ndarray, "P C C"]:
        channels = len(self.mean)
        matrices = np.zeros((len(self.whitening), channels, channels), np.float32)
        triangles = self.whitening.astype(np.float32) * self.scale[:, None]
        matrices[:, *np.tril_indices(channels)] = triangles
        return matrices


class _Moments:
    """First and second moments at each place, about the first image so that none cancels out."""

    def __init__(self, first: Float[np.ndarray, "C h w"]) -> None:
        channels, height, width = first.shape
        self.count = 0
        self._about = first.astype(np.float32)
        self._sum = np.zeros((height * width, channels), np.float64)
        self._products = np.zeros((height * width, channels, channels), np.float32)

    def add(self, batch: Float[np.ndarray, "n C h w"]) -> None:
        centred = (batch - self._about).reshape(*batch.shape[:2], -1)
        places = np.ascontiguousarray(centred.transpose(2, 0, 1))  # (P, n, C)
        self.count += len(batch)
        self._sum += places.sum(axis=1)
        self._products += np.matmul(places.transpose(0, 2, 1), places)

    def result(self) -> tuple[Float32[np.ndarray, "C h w"], Float32[np.ndarray, "P C C"]]:
        mean = (self._sum / self.count).astype(np.float32)
        covariance = self._products / self.count - mean[:, :, None] * mean[:, None]
        return self._about + mean.T.reshape(self._about.shape), covariance


def _shrunk(covariance: Float32[np.ndarray, "P C C"], count: int) -> Float32[np.ndarray, "P C C"]:
    """Return each covariance drawn towards a multiple of the identity, in place."""
    channels = covariance.shape[1]
    diagonal = np.einsum("pcc->pc", covariance)  # a view
    variance = diagonal.mean(axis=1)
    power = np.square(covariance).mean(axis=(1, 2))
    spread = np.maximum(power - np.square(variance) / channels, 1e-30)
    share = np.minimum((power + np.square(variance)) / ((count + 1) * spread), 1)
    covariance *= (1 - share)[:, None, None]
    diagonal += (share * variance + _FLOOR * variance.mean())[:, None]
    return covariance

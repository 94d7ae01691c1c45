"""PaDiM: a Gaussian of good parts' features at each place of the grid (Defard et al. 2021).

A pixel's value is its Mahalanobis distance. The paper adds 0.01 to the diagonal of every
covariance; here each is shrunk towards its mean variance by an amount estimated from its samples
(OAS, Chen et al. 2010), which needs no constant. All channels of the three scales are used if the
covariances fit into `MEMORY_BYTES`, else a random selection of channels.

    P  places, h * w    C  channels used    B  batch
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.errors import CalibrationError
from model.rivals.features import on_one_grid

MEMORY_BYTES = 512 * 1024**2
_FLOOR = 1e-6


class Padim:
    """Mean and whitening at each place; `channels` are indices into all scales' channels."""

    def __init__(
        self,
        mean: Float[Tensor, "P C"],
        whitening: Float[Tensor, "P C C"],
        channels: Int[np.ndarray, " C"],
        grid: tuple[int, int],
    ) -> None:
        self.mean = mean
        self.whitening = whitening
        self.channels = channels
        self.grid = grid

    @classmethod
    def fit(cls, batches: Iterable[list[Tensor]], seed: int = 0) -> "Padim":
        """Fit on the three scales of good images. Raises `CalibrationError` for fewer than two."""
        moments: _Moments | None = None
        for scales in batches:
            if moments is None:
                moments = _Moments(scales, seed)
            moments.add(scales)
        if moments is None or moments.count < 2:
            count = 0 if moments is None else moments.count
            raise CalibrationError(f"PaDiM needs at least two good images, got {count}")
        mean, covariance = moments.result()
        factor = torch.linalg.cholesky(_shrunk(covariance, moments.count))
        identity = torch.eye(factor.shape[-1], device=factor.device).expand_as(factor)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)
        return cls(mean, whitening, moments.channels, moments.grid)

    @torch.inference_mode()
    def distances(self, scales: list[Tensor]) -> Float[Tensor, "B h w"]:
        """Return each place's distance from the Gaussian of good parts."""
        centred = _places(scales, self.grid, self.channels) - self.mean[:, None]  # (P, B, C)
        white = torch.bmm(centred, self.whitening.transpose(1, 2))
        norms = torch.linalg.vector_norm(white, dim=2)
        distances: Tensor = norms.T.reshape(-1, *self.grid)
        return distances


class _Moments:
    """First and second moments at each place, about the first image to limit rounding errors."""

    def __init__(self, scales: list[Tensor], seed: int) -> None:
        self.grid = (scales[1].shape[2], scales[1].shape[3])
        total = sum(maps.shape[1] for maps in scales)
        places = self.grid[0] * self.grid[1]
        used = min(total, int((MEMORY_BYTES / 4 / places) ** 0.5))
        self.channels = np.sort(np.random.default_rng(seed).permutation(total)[:used])
        self.count = 0
        self._about = _places(scales, self.grid, self.channels)[:, :1]  # (P, 1, C)
        self._sum = torch.zeros_like(self._about[:, 0])
        self._products = torch.zeros(places, used, used, device=self._sum.device)

    @torch.inference_mode()
    def add(self, scales: list[Tensor]) -> None:
        centred = _places(scales, self.grid, self.channels) - self._about
        self.count += centred.shape[1]
        self._sum += centred.sum(dim=1)
        self._products.baddbmm_(centred.transpose(1, 2), centred)

    def result(self) -> tuple[Float[Tensor, "P C"], Float[Tensor, "P C C"]]:
        mean = self._sum / self.count
        covariance = self._products.div_(self.count)
        covariance.baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
        return mean + self._about[:, 0], covariance


def _places(
    scales: list[Tensor], grid: tuple[int, int], channels: Int[np.ndarray, " C"]
) -> Float[Tensor, "P B C"]:
    features = on_one_grid(scales, grid)
    if len(channels) < features.shape[1]:
        features = features[:, torch.from_numpy(channels).to(features.device)]
    return features.flatten(2).permute(2, 0, 1).contiguous()


def _shrunk(covariance: Float[Tensor, "P C C"], count: int) -> Float[Tensor, "P C C"]:
    """Shrink each covariance towards a multiple of the identity, in place."""
    size = covariance.shape[-1]
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    scale = diagonal.mean(dim=1)
    power = covariance.square().mean(dim=(1, 2))
    numerator = power + scale.square()
    share = numerator / ((count + 1) * (power - scale.square() / size)).clamp_min(1e-30)
    share = share.clamp(max=1.0)
    covariance *= (1 - share)[:, None, None]
    diagonal += (share * scale + _FLOOR * scale.mean() + 1e-12)[:, None]
    return covariance

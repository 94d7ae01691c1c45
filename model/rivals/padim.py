"""PaDiM: at each place of the grid a Gaussian of good parts' features (Defard et al. 2021).

A pixel's distance is Mahalanobis'. Where the paper adds 0.01 to the diagonal of every covariance,
each is drawn towards its mean variance here, by as much as its own samples ask for (Chen et al.
2010, OAS): the best that a few hundred images give, and no constant to tune. All channels of the
three scales are used while the covariances fit into `MEMORY_BYTES`, or else a random draw.

    P  places, h * w    C  channels kept    B  batch
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
    """Mean and whitening at each place; `channels` are those of all scales that were kept."""

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
        """Fit on the three scales of good images, in batches. Needs two images at least."""
        moments: _Moments | None = None
        for scales in batches:
            if moments is None:
                moments = _Moments(scales, seed)
            moments.add(scales)
        if moments is None or moments.count < 2:
            raise CalibrationError("PaDiM needs at least two good images")
        mean, covariance = moments.result()
        factor = torch.linalg.cholesky(_shrunk(covariance, moments.count))
        identity = torch.eye(factor.shape[-1], device=factor.device).expand_as(factor)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)
        return cls(mean, whitening, moments.channels, moments.grid)

    @torch.inference_mode()
    def distances(self, scales: list[Tensor]) -> Float[Tensor, "B h w"]:
        """Return each place's distance from what good parts show there."""
        centred = _places(scales, self.grid, self.channels) - self.mean[:, None]  # (P, B, C)
        white = torch.bmm(centred, self.whitening.transpose(1, 2))
        found = torch.linalg.vector_norm(white, dim=2)
        distances: Tensor = found.T.reshape(-1, *self.grid)
        return distances


class _Moments:
    """First and second moments at each place, about the first image so that none cancels out."""

    def __init__(self, scales: list[Tensor], seed: int) -> None:
        self.grid = (scales[1].shape[2], scales[1].shape[3])
        every = sum(maps.shape[1] for maps in scales)
        places = self.grid[0] * self.grid[1]
        kept = min(every, int((MEMORY_BYTES / 4 / places) ** 0.5))
        self.channels = np.sort(np.random.default_rng(seed).permutation(every)[:kept])
        self.count = 0
        self._about = _places(scales, self.grid, self.channels)[:, :1]  # (P, 1, C)
        self._sum = torch.zeros_like(self._about[:, 0])
        self._products = torch.zeros(places, kept, kept, device=self._sum.device)

    @torch.inference_mode()
    def add(self, scales: list[Tensor]) -> None:
        found = _places(scales, self.grid, self.channels) - self._about
        self.count += found.shape[1]
        self._sum += found.sum(dim=1)
        self._products.baddbmm_(found.transpose(1, 2), found)

    def result(self) -> tuple[Float[Tensor, "P C"], Float[Tensor, "P C C"]]:
        mean = self._sum / self.count
        covariance = self._products.div_(self.count)
        covariance.baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
        return mean + self._about[:, 0], covariance


def _places(
    scales: list[Tensor], grid: tuple[int, int], channels: Int[np.ndarray, " C"]
) -> Float[Tensor, "P B C"]:
    laid = on_one_grid(scales, grid)
    if len(channels) < laid.shape[1]:
        laid = laid[:, torch.from_numpy(channels).to(laid.device)]
    return laid.flatten(2).permute(2, 0, 1).contiguous()


def _shrunk(covariance: Float[Tensor, "P C C"], count: int) -> Float[Tensor, "P C C"]:
    """Return each covariance drawn towards a multiple of the identity, in place."""
    size = covariance.shape[-1]
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    scale = diagonal.mean(dim=1)
    power = covariance.square().mean(dim=(1, 2))
    asked = power + scale.square()
    share = asked / ((count + 1) * (power - scale.square() / size)).clamp_min(1e-30)
    share = share.clamp(max=1.0)
    covariance *= (1 - share)[:, None, None]
    diagonal += (share * scale + _FLOOR * scale.mean() + 1e-12)[:, None]
    return covariance

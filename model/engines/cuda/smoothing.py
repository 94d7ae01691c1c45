"""Resizing and blurring an anomaly map as two matrix products for each scale.

    B  batch      h, w  size of one scale's map    H, W  size of the anomaly map

Bilinear resizing and the Gaussian are linear and separable, so interpolation, mirrored edges and
two convolutions equal `down @ distance @ across`, with matrices that depend only on the sizes. The
second product also sums the scales by their weights.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from model.scoring.smoothing import resize_and_blur


class Smoothing:
    """Combines one distance map for each scale into the map of `model.scoring.cosine_map`."""

    def __init__(
        self,
        scales: Sequence[tuple[int, int]],
        size: tuple[int, int],
        sigma: float,
        weights: Sequence[float],
        device: torch.device,
    ) -> None:
        shares = [weight / sum(weights) for weight in weights]
        rows = [torch.from_numpy(resize_and_blur(h, size[0], sigma)) for h, _ in scales]
        columns = [
            share * torch.from_numpy(resize_and_blur(w, size[1], sigma))
            for share, (_, w) in zip(shares, scales, strict=True)
        ]
        self._down = [matrix.float().to(device) for matrix in rows]  # (H, h) each
        self._across = torch.cat(columns, dim=1).T.float().contiguous().to(device)

    def __call__(self, distances: Sequence[Float[Tensor, "B _ _"]]) -> Float[Tensor, "B H W"]:
        """Return the weighted mean of the resized, blurred maps."""
        pairs = zip(self._down, distances, strict=True)
        tall = [down @ distance for down, distance in pairs]
        return torch.cat(tall, dim=2) @ self._across

"""Resizing and blurring an anomaly map as two matrix products for each scale.

    B  batch      h, w  size of one scale's map    H, W  size of the anomaly map

Bilinear resizing and the Gaussian are linear, and work on rows and columns apart: what the network
computes by interpolation, mirrored edges and two convolutions is `down @ distance @ across`, with
matrices that only the sizes decide. Scales meet in the second product, by their weights.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

TRUNCATE = 4.0


class Smoothing:
    """The anomaly map of one distance map for each scale; as `model.anomaly_map`, after it."""

    def __init__(
        self,
        scales: Sequence[tuple[int, int]],
        size: tuple[int, int],
        sigma: float,
        weights: Sequence[float],
        device: torch.device,
    ) -> None:
        shares = [weight / sum(weights) for weight in weights]
        rows = [_resize_and_blur(h, size[0], sigma) for h, _ in scales]
        columns = [
            share * _resize_and_blur(w, size[1], sigma)
            for share, (_, w) in zip(shares, scales, strict=True)
        ]
        self._down = [matrix.float().to(device) for matrix in rows]  # (H, h) each
        self._across = torch.cat(columns, dim=1).T.float().contiguous().to(device)

    def __call__(self, distances: Sequence[Float[Tensor, "B _ _"]]) -> Float[Tensor, "B H W"]:
        """Return the weighted mean of the resized, blurred maps."""
        tall = [down @ found for down, found in zip(self._down, distances, strict=True)]
        return torch.cat(tall, dim=2) @ self._across


def _resize_and_blur(before: int, after: int, sigma: float) -> Float64[Tensor, "after before"]:
    return _gaussian(after, sigma) @ _bilinear(before, after)


def _bilinear(before: int, after: int) -> Float64[Tensor, "after before"]:
    """Interpolate between the two nearest, first and last aligned."""
    places = torch.arange(after, dtype=torch.float64) * ((before - 1) / max(1, after - 1))
    lower = places.floor().clamp(max=max(0, before - 2)).long()
    upper = (lower + 1).clamp(max=before - 1)
    matrix = torch.zeros(after, before, dtype=torch.float64)
    rows, share = torch.arange(after), places - lower
    matrix.index_put_((rows, lower), 1 - share, accumulate=True)
    return matrix.index_put_((rows, upper), share, accumulate=True)


def _gaussian(length: int, sigma: float) -> Float64[Tensor, "length length"]:
    """Blur, reflected at the ends, the last value repeated; the identity for a sigma of 0."""
    if sigma == 0:
        return torch.eye(length, dtype=torch.float64)
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma).double() ** 2)
    places = (torch.arange(length).unsqueeze(1) + offsets) % (2 * length)
    mirrored = torch.minimum(places, 2 * length - 1 - places)  # (length, taps)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, (kernel / kernel.sum()).expand(length, -1))

"""Standardise the encoder's features with statistics of the training images."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from model.network import Encoder

_LEAST_SHARE = 0.01
"""Lower limit of a channel's deviation, as a share of the mean deviation."""


@torch.no_grad()
def standardise(encoder: Encoder, batches: Iterable[Float[Tensor, "B 3 H W"]]) -> None:
    """Scale the encoder's channels to mean 0 and deviation 1 over these images."""
    sums = [torch.zeros(2, c, dtype=torch.float64) for c in encoder.channels]
    counts = [0] * len(sums)
    for images in batches:
        for number, feature in enumerate(encoder(images)):
            values = feature.double().transpose(0, 1).flatten(1).cpu()  # (C, B h w)
            sums[number] += torch.stack([values.sum(1), values.square().sum(1)])
            counts[number] += values.shape[1]
    means, deviations = [], []
    for (total, squares), count in zip(sums, counts, strict=True):
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        means.append(mean.float())
        deviations.append(deviation.clamp_min(_LEAST_SHARE * float(deviation.mean())).float())
    encoder.standardise(means, deviations)

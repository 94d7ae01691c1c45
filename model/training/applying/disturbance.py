"""Disturbs the decoder's input in a training step, as the recipe says."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from model.training.parallel.group import Group
from model.training.recipe.disturbance import Disturbance


def jitter(
    disturbance: Disturbance, features: Sequence[Float[Tensor, "B _ _ _"]], group: Group
) -> list[Float[Tensor, "B _ _ _"]]:
    """Return the features with noise from torch's random state."""
    if not disturbance.feature_noise:
        return list(features)
    hit = group.draw(torch.rand, features[0][:, :1, :1, :1]) < disturbance.feature_noise_probability
    share = disturbance.feature_noise * hit
    return [
        feature
        + share * feature.square().mean(dim=1, keepdim=True).sqrt()
        * group.draw(torch.randn, feature)
        for feature in features
    ]  # fmt: skip


def drop(
    disturbance: Disturbance, fused: Float[Tensor, "B C h w"], group: Group
) -> Float[Tensor, "B C h w"]:
    """Return the fused map with some values set to zero and the others scaled up."""
    if not disturbance.fusion_dropout:
        return fused
    mask = group.draw(torch.rand, fused) >= disturbance.fusion_dropout
    return fused * mask / (1 - disturbance.fusion_dropout)

"""Disturb the decoder's input in training, so that it does not learn to copy.

All disturbances are off by default, as in the paper, and never apply to inspection. A decoder that
copies its input also reconstructs defects; a decoder trained with noise learns to reconstruct good
parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.errors import ConfigError
from model.training.parallel.group import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Noise on the encoder's features before the fusion, and dropout after it.

    `feature_noise` is the noise's deviation as a share of the feature vector's root mean square at
    that position; `feature_noise_probability` is the share of images with noise. UniAD's jitter of
    scale 20 on 272 channels is 1.2 here. `fusion_dropout` is the share of fused values that are set
    to zero.
    """

    feature_noise: float = 0.0
    feature_noise_probability: float = 1.0
    fusion_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.feature_noise < float("inf"):
            raise ConfigError(f"feature_noise must be at least 0, got {self.feature_noise}")
        if not 0 < self.feature_noise_probability <= 1:
            raise ConfigError(
                f"feature_noise_probability must be in (0, 1], got {self.feature_noise_probability}"
            )
        if not 0 <= self.fusion_dropout < 1:
            raise ConfigError(f"fusion_dropout must be in [0, 1), got {self.fusion_dropout}")

    def jitter(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], group: Group
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the features with noise from torch's random state."""
        if not self.feature_noise:
            return list(features)
        hit = group.draw(torch.rand, features[0][:, :1, :1, :1]) < self.feature_noise_probability
        share = self.feature_noise * hit
        return [
            feature
            + share * feature.square().mean(dim=1, keepdim=True).sqrt()
            * group.draw(torch.randn, feature)
            for feature in features
        ]  # fmt: skip

    def drop(self, fused: Float[Tensor, "B C h w"], group: Group) -> Float[Tensor, "B C h w"]:
        """Return the fused map with some values set to zero and the others scaled up."""
        if not self.fusion_dropout:
            return fused
        mask = group.draw(torch.rand, fused) >= self.fusion_dropout
        return fused * mask / (1 - self.fusion_dropout)

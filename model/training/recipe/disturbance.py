"""What is done to the decoder's input while it learns, so that it cannot learn to copy.

All of it is off by default, as in the paper, and none of it ever happens when inspecting. A decoder
that passes on whatever it is given rebuilds defects as well; one that was given noise has learned
to bring back what good parts look like.
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
    """Noise on the encoder's features before their fusion, and dropout on what is fused.

    `feature_noise` is the noise's deviation as a share of the feature vector's root mean square at
    that position; an image gets it with `feature_noise_probability`. UniAD's jitter of scale 20 on
    272 channels is 1.2 here. `fusion_dropout` is the share of fused values that are set to zero.
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
        """Return the features with the noise that torch's random state draws now."""
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
        """Return the fused map with some values zero and the others larger in proportion."""
        if not self.fusion_dropout:
            return fused
        kept = group.draw(torch.rand, fused) >= self.fusion_dropout
        return fused * kept / (1 - self.fusion_dropout)

"""Disturb the decoder's input in training, so that it does not learn to copy.

All disturbances are off by default, as in the paper, and never apply to inspection. A decoder that
copies its input also reconstructs defects; a decoder trained with noise learns to reconstruct good
parts.
"""

from dataclasses import dataclass

from model.errors import ConfigError


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

"""From pixels to the encoder's input."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from model.images.preprocess import Preprocessing


def normalise(
    batch: UInt8[Tensor, "B 3 H W"], preprocessing: Preprocessing
) -> Float[Tensor, "B 3 H W"]:
    """Return (values / 255 - mean) / std, in float32."""
    mean = torch.tensor(preprocessing.mean, device=batch.device).view(3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=batch.device).view(3, 1, 1) * 255
    return (batch.float() - mean) / std

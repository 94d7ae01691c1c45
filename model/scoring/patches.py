"""From the encoder's features to the patches that a `Memory` remembers, in torch.

B  batch      C  channels at strides 8 and 16 together      h, w  the grid of stride 8
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def patch_features(teacher: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B C h w"]:
    """Return each place's features at strides 8 and 16, averaged over 3 x 3 places, in float32.

    `teacher` are the features at strides 4, 8 and 16. At the edges, places outside the image count
    as 0. Source: PatchCore (Roth et al. 2022).
    """
    middle, coarse = (_averaged(features.float()) for features in teacher[1:])
    size = (middle.shape[2], middle.shape[3])
    wide = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return torch.cat([middle, wide], dim=1).contiguous()


def with_patches(
    compared: Float[Tensor, "B *what"], teacher: Sequence[Float[Tensor, "B _ _ _"]]
) -> Float[Tensor, "B F"]:
    """Return flat rows: each image's map or differences, then its patches."""
    return torch.cat([compared.flatten(1), patch_features(teacher).flatten(1)], dim=1)


def _averaged(features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    # channels last: several times faster pooling on a CPU
    last = features.contiguous(memory_format=torch.channels_last)
    return F.avg_pool2d(last, 3, stride=1, padding=1)

"""From feature pairs to the input of a `FeatureBaseline`, in torch.

B  batch      C  channels of one scale      h, w  its grid, at least 2 x 2
F  all differences of an image: the C * h * w of every used scale
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

EDGE = 4 / 3
"""At an edge a quarter of the kernel lies outside the image; this scales the rest back up."""


def residuals(
    teacher: Sequence[Float[Tensor, "B _ _ _"]],
    student: Sequence[Float[Tensor, "B _ _ _"]],
    weights: Sequence[float],
) -> Float[Tensor, "B F"]:
    """Return teacher minus student of each scale whose weight is not 0, smoothed on its grid.

    Scales are concatenated fine to coarse, each flattened in the order C, h, w. The weights
    themselves apply later, to the map.
    """
    pairs = zip(teacher, student, weights, strict=True)
    differences = [_smoothed(t.float() - s.float()) for t, s, weight in pairs if weight]
    return torch.cat([smooth.flatten(1) for smooth in differences], dim=1)


def _smoothed(differences: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Average neighbours by outer([1, 2, 1], [1, 2, 1]), at the edges only those inside.

    Small shifts between good parts even out. Averaging 2 x 2 twice equals that kernel.
    """
    # channels last: several times faster pooling on a CPU
    last = differences.contiguous(memory_format=torch.channels_last)
    smooth = F.avg_pool2d(F.avg_pool2d(last, 2, 1, padding=1), 2, 1)
    height, width = smooth.shape[2:]
    smooth[:, :, :: height - 1].mul_(EDGE)
    smooth[:, :, :, :: width - 1].mul_(EDGE)
    return smooth

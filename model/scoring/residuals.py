"""From feature pairs to the differences that a `FeatureBaseline` measures, in torch.

B  batch      C  channels of one scale      h, w  its grid, at least 2 x 2
F  all differences of an image: the C * h * w of every used scale
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

EDGE = 4 / 3
"""Beyond an edge lies a quarter of the kernel, and nothing to average: the rest makes up for it."""


def residuals(
    teacher: Sequence[Float[Tensor, "B _ _ _"]],
    student: Sequence[Float[Tensor, "B _ _ _"]],
    weights: Sequence[float],
) -> Float[Tensor, "B F"]:
    """Return teacher minus student of each scale with a weight, smoothed on its own grid.

    Scales lie end to end, fine to coarse, each flattened in the order C, h, w. How large a weight
    is counts later, in the map.
    """
    pairs = zip(teacher, student, weights, strict=True)
    differences = [_smoothed(t.float() - s.float()) for t, s, weight in pairs if weight]
    return torch.cat([smooth.flatten(1) for smooth in differences], dim=1)


def _smoothed(differences: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Average neighbours by outer([1, 2, 1], [1, 2, 1]), at the edges those that there are.

    A defect spreads over its neighbours, and what shifts a little between good parts evens out.
    Averaging 2 x 2 twice is that kernel.
    """
    # with the channels first, torch pools on a CPU several times as slowly
    last = differences.contiguous(memory_format=torch.channels_last)
    smooth = F.avg_pool2d(F.avg_pool2d(last, 2, 1, padding=1), 2, 1)
    height, width = smooth.shape[2:]
    smooth[:, :, :: height - 1].mul_(EDGE)
    smooth[:, :, :, :: width - 1].mul_(EDGE)
    return smooth

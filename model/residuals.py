"""From feature pairs to the differences that a `FeatureBaseline` measures, in torch.

B  batch      C  channels of all used scales      h, w  the grid: the coarsest used scale's
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

NEIGHBOURHOOD = 3
"""Each place is the mean of so many by so many, as PatchCore's (Roth et al. 2022): a defect spreads
over its neighbours, and what shifts a little between good parts evens out."""


def residuals(
    teacher: Sequence[Float[Tensor, "B _ _ _"]],
    student: Sequence[Float[Tensor, "B _ _ _"]],
    weights: Sequence[float],
) -> Float[Tensor, "B C h w"]:
    """Return teacher minus student of the scales with a weight, fine to coarse, on one grid.

    Finer scales are averaged down to it. How large a weight is does not matter: what measures the
    differences does so in their own deviations.
    """
    pairs = zip(teacher, student, weights, strict=True)
    differences = [t.float() - s.float() for t, s, weight in pairs if weight]
    height, width = differences[-1].shape[2:]
    laid = [F.avg_pool2d(d, (d.shape[2] // height, d.shape[3] // width)) for d in differences]
    return F.avg_pool2d(
        torch.cat(laid, dim=1), NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False
    ).contiguous()

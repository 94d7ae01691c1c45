"""Weighs positions of the feature maps in the loss, as the recipe says."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from model.training.recipe.emphasis import Emphasis

Gather: TypeAlias = Callable[[Tensor], Tensor]
"""Gathers all processes' values along the first dimension."""


def _alone(values: Tensor) -> Tensor:
    return values


def position_weights(
    emphasis: Emphasis, like: Float[Tensor, "B C h w"]
) -> Float[Tensor, "h w"] | None:
    """Return the weight of each position of a map, 1 on average; None if all are 1."""
    if not emphasis.border_share or emphasis.border_weight == 1:
        return None
    height, width = like.shape[-2:]
    inner = torch.ones(height, width, device=like.device)
    rows, columns = (round(emphasis.border_share * side) for side in (height, width))
    weights = torch.full_like(inner, emphasis.border_weight)
    inside = weights[rows : height - rows, columns : width - columns]
    inside.fill_(1)
    if not weights.any():
        return inner
    return weights / weights.mean()


def loosen(
    emphasis: Emphasis,
    student: Float[Tensor, "B C h w"],
    distance: Float[Tensor, "B h w"],
    progress: float,
    gather: Gather = _alone,
) -> Float[Tensor, "B C h w"]:
    """Return the same features with a smaller gradient at positions of small `distance`."""
    if not student.requires_grad:
        return student
    distances = gather(distance.detach()).flatten()
    easy = int(emphasis.easy_share(progress) * len(distances))
    if easy == 0:
        return student
    limit = distances.kthvalue(easy).values
    scale = torch.where(distance.detach() <= limit, emphasis.easy_gradient, 1.0).unsqueeze(1)
    fixed = student.detach()
    return fixed + (student - fixed) * scale

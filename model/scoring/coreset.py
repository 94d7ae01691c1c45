"""A coreset: few points that lie close to all others, chosen greedily, in torch.

n  points      d  dimensions      C  channels
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

PROJECTED = 64
"""Dimensions of the random projection in which distances are measured."""

Advance: TypeAlias = Callable[[int], None]


def ignore(_percent: int) -> None:
    """Report no progress."""


@torch.inference_mode()
def farthest_first(points: Float[Tensor, "n d"], count: int, advance: Advance = ignore) -> Tensor:
    """Return the indices of `count` points, each the farthest from those before it.

    Begins with the point farthest from the points' mean. The largest distance to the nearest chosen
    point is at most twice the optimum for `count` points (Gonzalez 1985). `advance` gets the
    percent newly chosen.
    """
    nearest = torch.full((len(points),), math.inf, device=points.device)
    newest = (points - points.mean(dim=0)).square().sum(dim=1).argmax()
    chosen = torch.empty(count, dtype=torch.int64, device=points.device)
    squares = points.square().sum(dim=1)
    for place in range(count):
        chosen[place] = newest
        apart = torch.addmv(squares + squares[newest], points, points[newest], alpha=-2)
        torch.minimum(nearest, apart, out=nearest)
        newest = nearest.argmax()
        if (place + 1) * 100 // count > place * 100 // count:
            advance((place + 1) * 100 // count - place * 100 // count)
    return chosen


def projected(points: Float[Tensor, "n C"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Return the points in at most `PROJECTED` random directions, where distances differ little."""
    if points.shape[1] <= PROJECTED:
        return points
    directions = torch.randn(points.shape[1], PROJECTED, generator=generator) / PROJECTED**0.5
    result: Tensor = points @ directions.to(points.device)
    return result

"""PatchCore: the distance to the nearest patch of good parts (Roth et al. 2022).

A patch is a place's features at strides 8 and 16, each averaged over 3 x 3 places. About
`CANDIDATES` patches are drawn, the same number from each image. A coreset of them is chosen
greedily: always the patch farthest from all chosen so far, by distances in a random projection.
The paper's weighting of an image's score by its neighbours is left out, so that all methods are
scored alike (`model.rivals.scores`).

    B  batch    C  channels    n  candidates    k  patches remembered
"""

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from model.errors import CalibrationError
from model.rivals.features import on_one_grid

CANDIDATES = 100_000
CORESET_SHARE = 0.1
LARGEST_CORESET = 5_000
PROJECTED = 64

Advance = Callable[[int], None]


def _ignore(_chosen: int) -> None:
    return None


class PatchCore:
    """The remembered patches and their grid."""

    def __init__(self, patches: Float[Tensor, "k C"], grid: tuple[int, int]) -> None:
        self.patches = patches
        self.grid = grid
        self._squares = patches.square().sum(dim=1)

    @classmethod
    def fit(
        cls,
        batches: Iterable[list[Tensor]],
        images: int,
        seed: int = 0,
        advance: Advance = _ignore,
    ) -> "PatchCore":
        """Fit on the scales of `images` good images; `advance` gets the percent newly chosen."""
        generator = torch.Generator().manual_seed(seed)
        draws = math.ceil(CANDIDATES / max(images, 1))
        drawn: list[Tensor] = []
        grid = (0, 0)
        for scales in batches:
            grid = (scales[1].shape[2], scales[1].shape[3])
            for patches in _patches(scales, grid):
                some = torch.randperm(len(patches), generator=generator)[:draws]
                drawn.append(patches[some.to(patches.device)])
        if not drawn:
            raise CalibrationError("PatchCore needs at least one good image")
        candidates = torch.cat(drawn)
        count = max(1, min(LARGEST_CORESET, round(CORESET_SHARE * len(candidates))))
        chosen = farthest_first(_projected(candidates, generator), count, advance)
        return cls(candidates[chosen].contiguous(), grid)

    @torch.inference_mode()
    def distances(self, scales: list[Tensor]) -> Float[Tensor, "B h w"]:
        """Return each place's distance to the nearest remembered patch."""
        nearest = [self._nearest(patches) for patches in _patches(scales, self.grid)]
        return torch.stack(nearest).reshape(-1, *self.grid)

    def _nearest(self, patches: Float[Tensor, "P C"]) -> Float[Tensor, " P"]:
        squares = torch.addmm(self._squares, patches, self.patches.T, alpha=-2).amin(dim=1)
        return (squares + patches.square().sum(dim=1)).clamp_min(0).sqrt()


@torch.inference_mode()
def farthest_first(points: Float[Tensor, "n d"], count: int, advance: Advance = _ignore) -> Tensor:
    """Return the indices of `count` points, each the farthest from those before it.

    Begins with the point farthest from the points' mean. The largest distance to the nearest chosen
    point is at most twice the optimum for `count` points (Gonzalez 1985).
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


def _patches(scales: list[Tensor], grid: tuple[int, int]) -> Float[Tensor, "B P C"]:
    smooth = [F.avg_pool2d(maps, 3, stride=1, padding=1) for maps in scales[1:]]
    return on_one_grid(smooth, grid).flatten(2).transpose(1, 2).contiguous()


def _projected(points: Float[Tensor, "n C"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    if points.shape[1] <= PROJECTED:
        return points
    directions = torch.randn(points.shape[1], PROJECTED, generator=generator) / PROJECTED**0.5
    projected: Tensor = points @ directions.to(points.device)
    return projected

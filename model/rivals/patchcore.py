"""PatchCore: the distance to the nearest patch of good parts (Roth et al. 2022).

A patch is a place's features at strides 8 and 16, each averaged over 3 x 3 places. About
`CANDIDATES` patches are drawn, the same number from each image. A coreset of them is chosen
greedily: always the patch farthest from all chosen so far, by distances in a random projection.
The paper's weighting of an image's score by its neighbours is left out, so that all methods are
scored alike (`model.rivals.scores`).

    B  batch    C  channels    n  candidates    k  patches remembered
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from model.errors import CalibrationError
from model.scoring.coreset import Advance, farthest_first, ignore, projected
from model.scoring.patches import patch_features

CANDIDATES = 100_000
CORESET_SHARE = 0.1
LARGEST_CORESET = 5_000


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
        advance: Advance = ignore,
    ) -> "PatchCore":
        """Fit on the scales of `images` good images; `advance` gets the percent newly chosen."""
        generator = torch.Generator().manual_seed(seed)
        draws = math.ceil(CANDIDATES / max(images, 1))
        drawn: list[Tensor] = []
        grid = (0, 0)
        for scales in batches:
            grid = (scales[1].shape[2], scales[1].shape[3])
            for patches in _patches(scales):
                some = torch.randperm(len(patches), generator=generator)[:draws]
                drawn.append(patches[some.to(patches.device)])
        if not drawn:
            raise CalibrationError("PatchCore needs at least one good image")
        candidates = torch.cat(drawn)
        count = max(1, min(LARGEST_CORESET, round(CORESET_SHARE * len(candidates))))
        chosen = farthest_first(projected(candidates, generator), count, advance)
        return cls(candidates[chosen].contiguous(), grid)

    @torch.inference_mode()
    def distances(self, scales: list[Tensor]) -> Float[Tensor, "B h w"]:
        """Return each place's distance to the nearest remembered patch."""
        nearest = [self._nearest(patches) for patches in _patches(scales)]
        return torch.stack(nearest).reshape(-1, *self.grid)

    def _nearest(self, patches: Float[Tensor, "P C"]) -> Float[Tensor, " P"]:
        squares = torch.addmm(self._squares, patches, self.patches.T, alpha=-2).amin(dim=1)
        return (squares + patches.square().sum(dim=1)).clamp_min(0).sqrt()


def _patches(scales: list[Tensor]) -> Float[Tensor, "B P C"]:
    return patch_features(scales).flatten(2).transpose(1, 2).contiguous()

"""Which positions and scales of the features the loss is about.

By default all of them alike, as in the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.errors import ConfigError

Gather = Callable[[Tensor], Tensor]
"""Makes of one process's values those of the whole batch, along the first dimension."""


def _alone(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Emphasis:
    """What counts how much in the loss.

    `loss_weights` multiply the three scales' losses, fine to coarse; finest scales that weigh 0 are
    not rebuilt at all, which saves most of the time, and scoring has to do without them, too.
    Positions within `border_share` of an edge (of height and width) weigh `border_weight`.

    `hard_mining` is the share of the batch's positions, those that are rebuilt best, whose gradient
    is multiplied by `easy_gradient`: the loose loss of Dinomaly (0.9 and 0.1), after ReContrast and
    RD++. The share climbs from 0 over the first `hard_mining_ramp` of the run.
    """

    loss_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    border_share: float = 0.0
    border_weight: float = 1.0
    hard_mining: float = 0.0
    hard_mining_ramp: float = 0.1
    easy_gradient: float = 0.1

    def __post_init__(self) -> None:
        weights = self.loss_weights
        if len(weights) != 3 or not all(0 <= w < float("inf") for w in weights) or not sum(weights):
            raise ConfigError(
                f"loss_weights must be three numbers of at least 0, not all 0, got {weights}"
            )
        if not 0 <= self.border_share < 0.5:
            raise ConfigError(f"border_share must be in [0, 0.5), got {self.border_share}")
        if not 0 <= self.border_weight < float("inf"):
            raise ConfigError(f"border_weight must be at least 0, got {self.border_weight}")
        if not 0 <= self.hard_mining < 1:
            raise ConfigError(f"hard_mining must be in [0, 1), got {self.hard_mining}")
        for name in ("hard_mining_ramp", "easy_gradient"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name)}")

    @property
    def unused_scales(self) -> int:
        """How many scales, counted from the finest, need not be rebuilt."""
        return next(i for i, weight in enumerate(self.loss_weights) if weight)

    def position_weights(self, like: Float[Tensor, "B C h w"]) -> Float[Tensor, "h w"] | None:
        """Return what each position of a map weighs, 1 on average; None where all weigh 1."""
        if not self.border_share or self.border_weight == 1:
            return None
        height, width = like.shape[-2:]
        inner = torch.ones(height, width, device=like.device)
        rows, columns = (round(self.border_share * side) for side in (height, width))
        weights = torch.full_like(inner, self.border_weight)
        inside = weights[rows : height - rows, columns : width - columns]
        inside.fill_(1)
        if not weights.any():
            return inner
        return weights / weights.mean()

    def easy_share(self, progress: float) -> float:
        """Return the share of positions that count as easy when `progress` of the run is done."""
        if progress >= self.hard_mining_ramp:
            return self.hard_mining
        return self.hard_mining * progress / self.hard_mining_ramp

    def loosen(
        self,
        student: Float[Tensor, "B C h w"],
        distance: Float[Tensor, "B h w"],
        progress: float,
        gather: Gather = _alone,
    ) -> Float[Tensor, "B C h w"]:
        """Return the same features, whose gradient is smaller where `distance` is."""
        if not student.requires_grad:
            return student
        distances = gather(distance.detach()).flatten()
        easy = int(self.easy_share(progress) * len(distances))
        if easy == 0:
            return student
        limit = distances.kthvalue(easy).values
        scale = torch.where(distance.detach() <= limit, self.easy_gradient, 1.0).unsqueeze(1)
        fixed = student.detach()
        return fixed + (student - fixed) * scale

"""Weights of feature positions and scales in the loss; by default equal, as in the paper."""

from dataclasses import dataclass

from model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Emphasis:
    """The weights in the loss.

    `loss_weights` multiply the three scales' losses, fine to coarse. Finest scales with weight 0
    are not reconstructed, which saves most of the time; scoring must not use them. Positions within
    `border_share` of an edge (of height and width) have the weight `border_weight`.

    `hard_mining` is the share of the batch's positions with the best reconstruction; their gradient
    is multiplied by `easy_gradient`: the loose loss of Dinomaly (0.9 and 0.1), after ReContrast and
    RD++. The share rises from 0 over the first `hard_mining_ramp` of the run.
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
        """The number of finest scales that are not reconstructed."""
        return next(i for i, weight in enumerate(self.loss_weights) if weight)

    def easy_share(self, progress: float) -> float:
        """Return the share of easy positions at `progress`, the completed share of the run."""
        if progress >= self.hard_mining_ramp:
            return self.hard_mining
        return self.hard_mining * progress / self.hard_mining_ramp

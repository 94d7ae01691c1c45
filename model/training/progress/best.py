"""The weights that did best so far on the images that are watched."""

from collections.abc import Mapping

from torch import Tensor


class BestWeights:
    """The trained weights of the lowest loss offered; none before the first offer."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.loss = float("inf")
        self.epoch: int | None = None

    def offer(self, loss: float, epoch: int, weights: Mapping[str, Tensor]) -> None:
        """Keep a copy of the weights if their loss is lower than that of all before."""
        if loss < self.loss:
            self.weights = {key: value.detach().clone() for key, value in weights.items()}
            self.loss, self.epoch = loss, epoch

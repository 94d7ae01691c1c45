"""The best weights so far, by the loss on the watched images."""

from collections.abc import Mapping

from torch import Tensor


class BestWeights:
    """The trained weights with the lowest offered loss; empty before the first offer."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.loss = float("inf")
        self.epoch: int | None = None

    def offer(self, loss: float, epoch: int, weights: Mapping[str, Tensor]) -> None:
        """Copy the weights if their loss is the lowest so far."""
        if loss < self.loss:
            self.weights = {key: value.detach().clone() for key, value in weights.items()}
            self.loss, self.epoch = loss, epoch

"""The moving average of the weights over the steps."""

import torch

from model.network import MambaAD


class WeightAverage:
    """An exponential moving average of a network's trained weights, updated in place.

    The first steps use a smaller decay, because the initial random weights would otherwise affect
    the average for 1 / (1 - decay) steps.
    """

    def __init__(self, network: MambaAD, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in network.trained_state().items()}

    @torch.no_grad()
    def update(self, network: MambaAD, step: int) -> None:
        """Add the network's weights after step number `step` (from 0) to the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in network.trained_state().items():
            if value.is_floating_point():
                self.weights[key].lerp_(value, 1 - decay)
            else:
                self.weights[key].copy_(value)

"""Layers that depend on the whole batch while each process has only its rows.

torch's synchronised batch norm only supports CUDA tensors; these layers work on every device.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from timm.layers.drop import DropPath
from torch import Tensor, nn

from model.training.parallel.group import Group


class _Sum(torch.autograd.Function):
    """The sum over all processes, of the values and of their gradients."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 (torch leaves it untyped)
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of all processes' rows; all must have equally many."""

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Return the normalised map, and update the statistics in training mode."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        axes, count = (0, 2, 3), x.numel() // x.shape[1] * dist.get_world_size()
        mean = self._sum(values.sum(axes)) / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = self._sum(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    @staticmethod
    def _sum(values: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return total

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class SharedDropPath(DropPath):
    """Stochastic depth that drops the same rows as one process with the whole batch."""

    def __init__(self, rate: float, group: Group) -> None:
        super().__init__(rate)
        self._group = group

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Return the rows, some set to zero and the others scaled up."""
        if not self.training or not self.drop_prob:
            return x
        keep_prob = 1 - self.drop_prob
        like = x.new_empty(len(x), *[1] * (x.ndim - 1))
        return x * self._group.draw(_bernoulli(keep_prob), like) / keep_prob


def _bernoulli(probability: float) -> Any:  # noqa: ANN401
    def draw(*shape: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, device=device, dtype=dtype).bernoulli_(probability)

    return draw


def share_layers(module: nn.Module, group: Group) -> None:
    """Replace the layers in `module` that depend on the whole batch, in place."""
    if group.size == 1:
        return
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum or 0.1)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared.to(child.weight.device))
        elif isinstance(child, DropPath):
            setattr(module, name, SharedDropPath(child.drop_prob, group))
        else:
            share_layers(child, group)

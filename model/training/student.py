"""What is trained: fusion and decoder, with what is done to their input while they learn."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.network import MambaAD
from model.training.parallel.group import Group
from model.training.parallel.sharing import share_layers
from model.training.recipe.config import TrainingConfig


class Student(nn.Module):
    """The part of a network that learns; its modules are the network's own.

    In training mode the features are disturbed, in evaluation mode never.
    """

    def __init__(self, network: MambaAD, config: TrainingConfig, group: Group) -> None:
        super().__init__()
        self._disturbance = config.disturbance
        self._unused_scales = config.emphasis.unused_scales
        self._bfloat16 = config.precision == "bfloat16"
        self._group = group
        share_layers(network.fusion, group)
        share_layers(network.decoder, group)
        self.fusion = network.fusion
        self.decoder = network.decoder

    def forward(
        self, teacher: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the rebuilt features, without the finest that the loss does not ask for."""
        device = teacher[0].device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._bfloat16 and self.training):
            features = list(teacher)
            if self.training:
                features = self._disturbance.jitter(features, self._group)
            fused = self.fusion(features)
            if self.training:
                fused = self._disturbance.drop(fused, self._group)
            rebuilt: list[Tensor] = self.decoder(fused, self._unused_scales)
        return rebuilt

    def freeze_unused(self) -> None:
        """Take what rebuilds the unused scales out of training: nothing would move it."""
        stages = len(self.decoder.expands) - self._unused_scales
        for module in (*self.decoder.expands[stages:], *self.decoder.stages[stages + 1 :]):
            module.requires_grad_(False)


def distribute(student: Student, group: Group, device: torch.device) -> nn.Module:
    """Return the student as it is, or so that all processes' gradients are averaged.

    To be called by all processes equally often: for what each does by itself, there is the student.
    """
    if group.size == 1:
        return student
    return DistributedDataParallel(student, None if device.type == "cpu" else [device])


@contextmanager
def quiet_strides() -> Iterator[None]:
    """Let torch not warn that a depth-wise weight's gradient has other strides along a side of 1.

    It copies such a gradient into its bucket, which is all that happens.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
        yield
